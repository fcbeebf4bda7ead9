#include <algorithm>

#include "cuda/pinned_copy.h"
#include "cuda/runtime.h"

namespace krasis::cuda {
namespace {

constexpr unsigned kThreads = 256;
constexpr std::size_t kMaxBlocks = 64;  // enough for the link

__global__ void copy_kernel(unsigned* to, const unsigned* from, std::size_t words) {
  const std::size_t step = std::size_t{gridDim.x} * kThreads;
  for (std::size_t i = std::size_t{blockIdx.x} * kThreads + threadIdx.x; i < words; i += step)
    to[i] = from[i];
}

}  // namespace

void copy_from_pinned(void* to, const void* from, std::size_t words, cudaStream_t stream) {
  if (words == 0) return;
  const auto blocks =
      static_cast<unsigned>(std::min((words + kThreads - 1) / kThreads, kMaxBlocks));
  copy_kernel<<<blocks, kThreads, 0, stream>>>(static_cast<unsigned*>(to),
                                               static_cast<const unsigned*>(from), words);
  check_launch("copy from pinned memory");
}

}  // namespace krasis::cuda
