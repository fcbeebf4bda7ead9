// For blocks whose warps have different work (sm_90): barriers in shared memory (PTX ISA:
// mbarrier), barriers of some of a block's warps, and registers moved between warp groups.
#pragma once

#include "cuda/tensor_core.cuh"

namespace krasis::cuda {

// `barrier` is the address of 8 aligned bytes. A phase ends when `arrivals` threads have arrived.
__device__ inline void init_barrier(unsigned barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;\n" ::"r"(barrier), "r"(arrivals)
               : "memory");
}
__device__ inline void arrive_at(unsigned barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];\n" ::"r"(barrier) : "memory");
}
// The phase ends when `bytes` have been written by the copy engine, too.
__device__ inline void arrive_expecting(unsigned barrier, unsigned bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;\n" ::"r"(barrier), "r"(bytes)
               : "memory");
}
// Barriers that were made can be used by the copy engine after the next __syncthreads.
__device__ inline void publish_barriers() {
  asm volatile("fence.mbarrier_init.release.cluster;\n" ::: "memory");
}
// Waits for the end of phase number p, given p % 2. At most one phase may end after it meanwhile.
// Of a phase before the first, parity 1, the end has come.
__device__ inline void wait_at(unsigned barrier, unsigned parity) {
  asm volatile(
      "{\n.reg .pred ended;\nagain:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 ended, [%0], %1;\n"
      "@!ended bra again;\n}\n" ::"r"(barrier),
      "r"(parity)
      : "memory");
}

// Barrier `name` (1 to 15; 0 is __syncthreads) of `threads` threads.
__device__ inline void wait_at_named(int name, int threads) {
  asm volatile("bar.sync %0, %1;\n" ::"r"(name), "r"(threads) : "memory");
}

// Counts this warp's threads in, and does not wait.
__device__ inline void arrive_at_named(int name, int threads) {
  asm volatile("bar.arrive %0, %1;\n" ::"r"(name), "r"(threads) : "memory");
}

// Every thread of this warp group has so many registers from here on, fewer or more than before.
template <int Registers>
__device__ inline void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;\n" ::"n"(Registers));
}
template <int Registers>
__device__ inline void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;\n" ::"n"(Registers));
}

}  // namespace krasis::cuda
