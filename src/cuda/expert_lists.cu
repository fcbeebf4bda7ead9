#include <algorithm>

#include "base/error.h"
#include "cuda/expert_lists.h"
#include "cuda/runtime.h"
#include "cuda/tensor_core.cuh"

namespace krasis::cuda {
namespace {

constexpr int kMaxParts = 256;      // the pairs are counted in so many parts at most ...
constexpr int kMinPartPairs = 256;  // ... of at least so many pairs
constexpr int kLayoutThreads = 1024;
constexpr int kCountedInShared = 48 * 1024 / sizeof(int);

int part_pairs(int pairs) {
  const int wanted = (pairs + kMaxParts - 1) / kMaxParts;
  return std::max(kMinPartPairs, (wanted + kWarp - 1) / kWarp * kWarp);
}

int part_count(int pairs) {
  return (pairs + part_pairs(pairs) - 1) / part_pairs(pairs);
}

// A warp walks through its part in order, 32 pairs at a time, and calls visit(pair, expert,
// earlier) with the number of earlier pairs of the expert in `counts` and before it in the part;
// not for pairs without an expert.
template <class Visit>
__device__ void walk_part(const int* ids, int pairs, int part_size, int* counts, Visit visit) {
  const int lane = static_cast<int>(threadIdx.x);
  const int first = static_cast<int>(blockIdx.x) * part_size;
  const int last = min(first + part_size, pairs);
  for (int start = first; start < last; start += kWarp) {
    const int pair = start + lane;
    const int expert = pair < last ? ids[pair] : -1;
    const bool exists = expert >= 0;
    const unsigned same = __match_any_sync(0xFFFFFFFFu, expert);
    const int before = __popc(same & ((1u << lane) - 1));
    if (exists) visit(pair, expert, counts[expert] + before);
    __syncwarp();
    if (exists && before == 0) counts[expert] += __popc(same);
    __syncwarp();
  }
}

// counts[expert][part]
__global__ void count_kernel(const int* ids, int pairs, int experts, int part_size, int* counts) {
  extern __shared__ int seen[];
  const int lane = static_cast<int>(threadIdx.x);
  for (int e = lane; e < experts; e += kWarp) seen[e] = 0;
  __syncwarp();
  walk_part(ids, pairs, part_size, seen, [](int, int, int) {});
  for (int e = lane; e < experts; e += kWarp)
    counts[e * static_cast<int>(gridDim.x) + static_cast<int>(blockIdx.x)] = seen[e];
}

// counts[expert][part] becomes the sum over earlier parts; totals[expert] over all. A warp an
// expert.
__global__ void scan_kernel(int* counts, int parts, int* totals) {
  const int lane = static_cast<int>(threadIdx.x);
  int* row = counts + static_cast<int>(blockIdx.x) * parts;
  int sum = 0;
  for (int start = 0; start < parts; start += kWarp) {
    const int part = start + lane;
    const int own = part < parts ? row[part] : 0;
    int inclusive = own;
    for (int step = 1; step < kWarp; step *= 2) {
      const int left = __shfl_up_sync(0xFFFFFFFFu, inclusive, step);
      if (lane >= step) inclusive += left;
    }
    if (part < parts) row[part] = sum + inclusive - own;
    sum += __shfl_sync(0xFFFFFFFFu, inclusive, kWarp - 1);
  }
  if (lane == 0) totals[blockIdx.x] = sum;
}

__device__ int blocks_of(int pairs, BlockSizes sizes) {
  return (pairs + sizes.most - 1) / sizes.most;
}

__device__ void write_blocks(int expert, int first, int count, BlockSizes sizes,
                             TokenBlock* blocks) {
  if (count == 0) return;
  const int number = blocks_of(count, sizes);
  const int even = (count + number - 1) / number;
  const int size = (even + sizes.step - 1) / sizes.step * sizes.step;
  for (int at = 0; at < count; at += size)
    *blocks++ = {expert, first + at, min(size, count - at), 0};
}

// The sum of `value` over earlier threads; `sum` receives that over all. One block.
__device__ int scan_block(int value, int& sum) {
  __shared__ int warps[kLayoutThreads / kWarp];
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  int inclusive = value;
  for (int step = 1; step < kWarp; step *= 2) {
    const int left = __shfl_up_sync(0xFFFFFFFFu, inclusive, step);
    if (lane >= step) inclusive += left;
  }
  if (lane == kWarp - 1) warps[warp] = inclusive;
  __syncthreads();
  int before = 0;
  sum = 0;
  for (int w = 0; w < kLayoutThreads / kWarp; ++w) {
    if (w < warp) before += warps[w];
    sum += warps[w];
  }
  __syncthreads();
  return before + inclusive - value;
}

// firsts[expert], the blocks and their number.
__global__ void __launch_bounds__(kLayoutThreads)
    layout_kernel(const int* totals, int experts, BlockSizes sizes, int* firsts, TokenBlock* blocks,
                  int* block_count) {
  int position = 0;
  int block = 0;
  for (int start = 0; start < experts; start += kLayoutThreads) {
    const int expert = start + static_cast<int>(threadIdx.x);
    const int total = expert < experts ? totals[expert] : 0;
    int positions = 0;
    int all_blocks = 0;
    const int first = position + scan_block(total, positions);
    const int first_block = block + scan_block(blocks_of(total, sizes), all_blocks);
    if (expert < experts) {
      firsts[expert] = first;
      write_blocks(expert, first, total, sizes, blocks + first_block);
    }
    position += positions;
    block += all_blocks;
  }
  if (threadIdx.x == 0) *block_count = block;
}

__global__ void scatter_kernel(const int* ids, int pairs, int experts, int part_size,
                               const int* counts, const int* firsts, int* order) {
  extern __shared__ int next[];
  const int lane = static_cast<int>(threadIdx.x);
  for (int e = lane; e < experts; e += kWarp)
    next[e] = firsts[e] + counts[e * static_cast<int>(gridDim.x) + static_cast<int>(blockIdx.x)];
  __syncwarp();
  walk_part(ids, pairs, part_size, next,
            [&](int pair, int, int position) { order[position] = pair; });
}

}  // namespace

int max_blocks(int pairs, int experts) {
  return pairs / kLeastBlockTokens + std::min(pairs, experts);
}

std::size_t expert_lists_bytes(int pairs, int experts) {
  constexpr std::size_t kAlignment = 256;
  const auto integers = static_cast<std::size_t>(pairs) +
                        static_cast<std::size_t>(experts) * (part_count(pairs) + 2) + 1;
  return integers * sizeof(int) + max_blocks(pairs, experts) * sizeof(TokenBlock) + 6 * kAlignment;
}

ExpertLists expert_lists(const int* ids, int pairs, int experts, const Launch& launch) {
  ensure(experts <= kCountedInShared, "expert_lists: more experts than a block can count");
  Scratch& scratch = launch.scratch;
  const int parts = part_count(pairs);
  ExpertLists lists;
  lists.order = scratch.take_as<int>(static_cast<std::size_t>(pairs));
  lists.blocks = scratch.take_as<TokenBlock>(static_cast<std::size_t>(max_blocks(pairs, experts)));
  lists.block_count = scratch.take_as<int>(1);
  const auto expert_count = static_cast<std::size_t>(experts);
  int* counts = scratch.take_as<int>(expert_count * static_cast<std::size_t>(parts));
  int* totals = scratch.take_as<int>(expert_count);
  int* firsts = scratch.take_as<int>(expert_count);

  const std::size_t shared = expert_count * sizeof(int);
  const int part_size = part_pairs(pairs);
  count_kernel<<<parts, kWarp, shared, launch.stream>>>(ids, pairs, experts, part_size, counts);
  check_launch("expert_lists: count");
  scan_kernel<<<experts, kWarp, 0, launch.stream>>>(counts, parts, totals);
  check_launch("expert_lists: scan");
  layout_kernel<<<1, kLayoutThreads, 0, launch.stream>>>(totals, experts,
                                                         block_sizes(launch.device.capability),
                                                         firsts, lists.blocks, lists.block_count);
  check_launch("expert_lists: layout");
  scatter_kernel<<<parts, kWarp, shared, launch.stream>>>(ids, pairs, experts, part_size, counts,
                                                          firsts, lists.order);
  check_launch("expert_lists: scatter");
  return lists;
}

}  // namespace krasis::cuda
