#include <algorithm>

#include "cuda/expert_choice.h"
#include "cuda/runtime.h"

namespace krasis::cuda {
namespace {

constexpr int kThreads = 256;

unsigned blocks_for(std::int64_t count) {
  constexpr std::int64_t kMost = 1024;
  return static_cast<unsigned>(std::min((count + kThreads - 1) / kThreads, kMost));
}

__global__ void keep_kernel(const std::byte* const* table, const std::int32_t* ids, long long pairs,
                            std::int32_t* kept) {
  for (long long p = blockIdx.x * static_cast<long long>(kThreads) + threadIdx.x; p < pairs;
       p += static_cast<long long>(gridDim.x) * kThreads) {
    const std::int32_t id = ids[p];
    kept[p] = id >= 0 && table[id] != nullptr ? id : -1;
  }
}

__global__ void load_kernel(const std::byte* const* pinned, long long count,
                            const std::byte** table) {
  for (long long i = blockIdx.x * static_cast<long long>(kThreads) + threadIdx.x; i < count;
       i += static_cast<long long>(gridDim.x) * kThreads)
    table[i] = pinned[i];
}

}  // namespace

void keep_experts_at(const std::byte* const* table, std::span<const std::int32_t> ids,
                     std::int32_t* kept, const Launch& launch) {
  if (ids.empty()) return;
  const auto pairs = static_cast<std::int64_t>(ids.size());
  keep_kernel<<<blocks_for(pairs), kThreads, 0, launch.stream>>>(table, ids.data(), pairs, kept);
  check_launch("experts: those at hand");
}

void load_addresses(const std::byte* const* pinned, std::int64_t count, const std::byte** table,
                    const Launch& launch) {
  if (count == 0) return;
  load_kernel<<<blocks_for(count), kThreads, 0, launch.stream>>>(pinned, count, table);
  check_launch("experts: addresses");
}

}  // namespace krasis::cuda
