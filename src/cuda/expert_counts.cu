#include <algorithm>

#include "cuda/expert_counts.h"
#include "cuda/runtime.h"

namespace krasis::cuda {
namespace {

constexpr unsigned kThreads = 256;
constexpr std::size_t kMaxBlocks = 64;

__global__ void count_kernel(const std::int32_t* ids, std::size_t count, unsigned* counts) {
  for (std::size_t i = blockIdx.x * std::size_t{kThreads} + threadIdx.x; i < count;
       i += std::size_t{gridDim.x} * kThreads)
    if (ids[i] >= 0) atomicAdd(&counts[ids[i]], 1u);
}

}  // namespace

void count_experts(std::span<const std::int32_t> ids, unsigned* counts, const Launch& launch) {
  if (ids.empty()) return;
  const auto blocks =
      static_cast<unsigned>(std::min((ids.size() + kThreads - 1) / kThreads, kMaxBlocks));
  count_kernel<<<blocks, kThreads, 0, launch.stream>>>(ids.data(), ids.size(), counts);
  check_launch("counting experts");
}

}  // namespace krasis::cuda
