// Barriers in shared memory at which some threads wait for what others have done, turn after turn
// (sm_90; PTX ISA: mbarrier).
#pragma once

namespace krasis::cuda {

// Before anybody else uses it; then __syncthreads().
__device__ inline void barrier_prepare(unsigned address, unsigned arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;\n" ::"r"(address), "r"(arrivals)
               : "memory");
}

// What this thread has read and written comes before what follows the wait.
__device__ inline void barrier_arrive(unsigned address) {
  asm volatile(
      "{\n.reg .b64 state;\nmbarrier.arrive.shared::cta.b64 state, [%0];\n}\n" ::"r"(address)
      : "memory");
}

// Until the turn with this parity, 0 for the first, is over; at once if the one after it runs.
__device__ inline void barrier_wait(unsigned address, unsigned parity) {
  unsigned over = 0;
  do {
    asm volatile(
        "{\n.reg .pred over;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 over, [%1], %2;\n"
        "selp.u32 %0, 1, 0, over;\n}\n"
        : "=r"(over)
        : "r"(address), "r"(parity)
        : "memory");
  } while (over == 0);
}

}  // namespace krasis::cuda
