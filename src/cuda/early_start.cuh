// Kernels that begin while the one before them on the stream still runs, to have their weights on
// the way when it ends (programmatic dependent launch, sm_90 and above; elsewhere they just follow
// each other). Such a kernel may read what no kernel writes - weights - at once, and so what only
// earlier steps have written, which none overtakes: a step begins with a copy of its tables that
// neither starts early nor lets others. Anything else it reads only after wait_for_earlier(), which
// every block calls; then all that came earlier is over, too.
#pragma once

#include <cstddef>
#include <nv/target>
#include <type_traits>

#include "cuda/launch.h"
#include "cuda/runtime.h"

namespace krasis::cuda {

__device__ inline void wait_for_earlier() {
  NV_IF_TARGET(NV_PROVIDES_SM_90, (asm volatile("griddepcontrol.wait;\n" ::: "memory");))
}

// The next kernel may begin as soon as every block of this one has come here.
__device__ inline void let_later_start() {
  NV_IF_TARGET(NV_PROVIDES_SM_90, (asm volatile("griddepcontrol.launch_dependents;\n");))
}

// Has the L2 cache read what will be wanted soon; both multiples of 16. One thread is enough.
__device__ inline void prefetch_to_l2(const void* from, unsigned bytes) {
  NV_IF_TARGET(NV_PROVIDES_SM_90,
               (asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;\n" ::"l"(from), "r"(bytes)
                             : "memory");))
}

struct Grid {
  dim3 blocks, threads;
  std::size_t shared_bytes = 0;
  unsigned cluster = 1;  // so many blocks along z share their memory; above 1: sm_90 and above
};

template <class... Arguments>
void start_early(void (*kernel)(Arguments...), const Grid& grid, const Launch& launch,
                 const std::type_identity_t<Arguments>&... arguments) {
  constexpr std::size_t kUnasked = std::size_t{32} << 10;  // every kernel may have 48 KB in all
  if (grid.shared_bytes > kUnasked) {
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(grid.shared_bytes)),
          "setting a kernel's shared memory");
  }
  cudaLaunchAttribute attributes[2] = {};
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = 1;
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim = {1, 1, grid.cluster};
  cudaLaunchConfig_t config{};
  config.gridDim = grid.blocks;
  config.blockDim = grid.threads;
  config.dynamicSmemBytes = grid.shared_bytes;
  config.stream = launch.stream;
  config.attrs = attributes;
  config.numAttrs = launch.device.capability < 90 ? 0 : grid.cluster > 1 ? 2 : 1;
  check(cudaLaunchKernelEx(&config, kernel, arguments...), "starting a kernel");
}

}  // namespace krasis::cuda
