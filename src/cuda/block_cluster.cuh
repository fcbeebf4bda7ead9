// Blocks of a cluster, which run at the same time and read each other's shared memory (sm_90 and
// above, cuda/early_start.cuh's Grid::cluster). PTX ISA: barrier.cluster, mapa.
#pragma once

#include <nv/target>

#include "cuda/tensor_core.cuh"

namespace krasis::cuda {

// All threads of all of the cluster's blocks; what they wrote to shared memory before is seen
// after.
__device__ inline void cluster_barrier() {
  NV_IF_TARGET(NV_PROVIDES_SM_90, (asm volatile("barrier.cluster.arrive.release.aligned;\n"
                                                "barrier.cluster.wait.acquire.aligned;\n" ::
                                                    : "memory");))
}

// What block number `block` of the cluster has where `mine` is in this block.
__device__ inline float load_of_block(const float* mine, unsigned block) {
  float value = 0;
  NV_IF_TARGET(NV_PROVIDES_SM_90,
               (asm volatile("{\n.reg .b32 at;\nmapa.shared::cluster.u32 at, %1, %2;\n"
                             "ld.shared::cluster.f32 %0, [at];\n}\n"
                             : "=f"(value)
                             : "r"(shared_address(mine)), "r"(block)
                             : "memory");))
  return value;
}

}  // namespace krasis::cuda
