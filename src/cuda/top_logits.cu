// A warp each finds the highest numbers of 512 columns, highest first; then warps merge 32 such
// lists into one until one is left. A candidate is one integer whose order is that of the answer:
// the number's height, then its column from the right.
#include "cuda/early_start.cuh"
#include "cuda/tensor_core.cuh"
#include "cuda/top_logits.h"

namespace krasis::cuda {
namespace {

constexpr int kWarps = 4;                // of a block of the first step
constexpr int kPerLane = 16;             // numbers
constexpr int kPart = kPerLane * kWarp;  // columns of a list
constexpr int kLists = kWarp;            // that become one
constexpr float kMost = 3.402823466e+38f;

using Candidate = unsigned long long;  // 0: none

// In the order of the numbers, above 0; NaN and +infinity highest.
__device__ unsigned height_of(float number) {
  if (!(number <= kMost)) return ~0u;
  const unsigned bits = __float_as_uint(number + 0.0f);  // -0 becomes 0
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

__device__ Candidate largest_of_warp(Candidate mine) {
  const auto high = static_cast<unsigned>(mine >> 32);
  const unsigned best = __reduce_max_sync(~0u, high);
  const unsigned low = __reduce_max_sync(~0u, high == best ? static_cast<unsigned>(mine) : 0u);
  return static_cast<Candidate>(best) << 32 | low;
}

struct Parts {
  const float* logits;
  long long stride;
  int columns, count, lists;
  Candidate* out;  // [rows, lists, count]
};

__global__ void __launch_bounds__(kWarps* kWarp) find_in_parts(const Parts p) {
  let_later_start();
  wait_for_earlier();
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int list = static_cast<int>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / kWarp;
  if (list >= p.lists) return;
  const float* const row = p.logits + blockIdx.y * p.stride;
  unsigned heights[kPerLane];
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) {
    const int column = list * kPart + i * kWarp + lane;
    heights[i] = column < p.columns ? height_of(row[column]) : 0;
  }
  Candidate* const out = p.out + (static_cast<long long>(blockIdx.y) * p.lists + list) * p.count;
  for (int j = 0; j < p.count; ++j) {
    unsigned height = 0;
    int at = 0;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      if (heights[i] > height) height = heights[i], at = i;
    }
    const auto column = static_cast<unsigned>(list * kPart + at * kWarp + lane);
    const Candidate mine = height == 0 ? 0 : static_cast<Candidate>(height) << 32 | ~column;
    const Candidate best = largest_of_warp(mine);
    if (lane == 0) out[j] = best;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i)
      if (best == mine && at == i) heights[i] = 0;
  }
}

struct Merge {
  const Candidate* from;  // [rows, lists, count], each highest first
  int lists, count;
  Candidate* out;  // [rows, ceil(lists / 32), count]; nullptr: ids and values
  const float* logits;
  long long stride;
  std::int32_t* ids;  // [rows, count]
  float* values;      // [rows, count]
};

// One warp: a list each lane.
__global__ void __launch_bounds__(kWarp) merge(const Merge m) {
  let_later_start();
  wait_for_earlier();
  const int lane = static_cast<int>(threadIdx.x);
  const long long row = blockIdx.y;
  const int list = static_cast<int>(blockIdx.x) * kLists + lane;
  const Candidate* next = m.from + (row * m.lists + list) * m.count;
  const Candidate* const end = list < m.lists ? next + m.count : next;
  Candidate mine = next < end ? *next++ : 0;
  for (int j = 0; j < m.count; ++j) {
    const Candidate best = largest_of_warp(mine);
    if (best == mine) mine = next < end ? *next++ : 0;
    if (lane != 0) continue;
    if (m.out != nullptr) {
      m.out[(row * gridDim.x + blockIdx.x) * m.count + j] = best;
    } else {
      const auto column = static_cast<std::int32_t>(~static_cast<unsigned>(best));
      m.ids[row * m.count + j] = column;
      m.values[row * m.count + j] = m.logits[row * m.stride + column];
    }
  }
}

}  // namespace

void top_logits(const TopLogits& op, const Launch& launch) {
  const auto rows = static_cast<unsigned>(op.logits.rows);
  const auto count = static_cast<int>(op.count);
  const auto candidates = [&](int lists) {
    return launch.scratch.take_as<Candidate>(static_cast<std::size_t>(op.logits.rows) *
                                             static_cast<std::size_t>(lists) *
                                             static_cast<std::size_t>(count));
  };
  const auto merged = [](int lists) { return (lists + kLists - 1) / kLists; };
  int lists = static_cast<int>((op.logits.cols + kPart - 1) / kPart);
  const Parts parts{op.logits.data, op.logits.stride, static_cast<int>(op.logits.cols), count,
                    lists,          candidates(lists)};
  start_early(find_in_parts,
              {.blocks = dim3(static_cast<unsigned>((lists + kWarps - 1) / kWarps), rows),
               .threads = kWarps * kWarp},
              launch, parts);
  Merge step{.from = parts.out,
             .lists = lists,
             .count = count,
             .out = nullptr,
             .logits = op.logits.data,
             .stride = op.logits.stride,
             .ids = op.ids.data(),
             .values = op.values.data()};
  for (; lists > kLists; lists = merged(lists), step.from = step.out, step.lists = lists) {
    step.out = candidates(merged(lists));
    start_early(merge,
                {.blocks = dim3(static_cast<unsigned>(merged(lists)), rows), .threads = kWarp},
                launch, step);
  }
  step.out = nullptr;
  start_early(merge, {.blocks = dim3(1, rows), .threads = kWarp}, launch, step);
}

}  // namespace krasis::cuda
