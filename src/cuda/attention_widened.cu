// Many rows on a cache of E4M3: a segment's keys and values are widened to BF16 once, in scratch
// memory, where they lie as in a cache of one page, and the kernels for BF16 do the rest.
#include <algorithm>

#include "cuda/attention.h"
#include "cuda/attention_parts.cuh"
#include "cuda/float8.cuh"
#include "cuda/runtime.h"

namespace krasis::cuda {
namespace {

constexpr int kPiece = 16;  // numbers that a thread widens at a time
constexpr unsigned kThreads = 256;

struct WidenSide {
  const uint4* from;  // [pages, kv_heads, page_tokens, dim] of E4M3
  uint4* to;          // [kv_heads, tokens, dim] of BF16
  int pieces;         // of a row
};
struct WidenArguments {
  WidenSide sides[2];  // keys, values
  const int* pages;    // of the sequence
  int kv_heads, page_tokens, tokens;
};

// The grid is (., kv_heads, sides).
__global__ void __launch_bounds__(kThreads) widen_cache(const WidenArguments a) {
  const WidenSide side = blockIdx.z == 0 ? a.sides[0] : a.sides[1];
  const auto head = static_cast<int>(blockIdx.y);
  const std::int64_t count = std::int64_t{a.tokens} * side.pieces;
  for (std::int64_t i = blockIdx.x * std::int64_t{kThreads} + threadIdx.x; i < count;
       i += std::int64_t{gridDim.x} * kThreads) {
    const auto token = static_cast<int>(i / side.pieces);
    const auto piece = static_cast<int>(i % side.pieces);
    const std::int64_t page = a.pages[token / a.page_tokens];
    const std::int64_t row = (page * a.kv_heads + head) * a.page_tokens + token % a.page_tokens;
    const WidenedPiece widened = widen(load_stream(side.from + row * side.pieces + piece));
    uint4* const to = side.to + (head * count + i) * 2;
    to[0] = widened.low;
    to[1] = widened.high;
  }
}

void widen_segment(const PagedKv& from, const PagedKv& to, const int* pages, cudaStream_t stream) {
  const auto side = [](const std::byte* narrow, std::byte* wide, std::int64_t dim) {
    return WidenSide{reinterpret_cast<const uint4*>(narrow), reinterpret_cast<uint4*>(wide),
                     static_cast<int>(dim / kPiece)};
  };
  const WidenArguments arguments{
      {side(from.keys, to.keys, from.key_dim), side(from.values, to.values, from.value_dim)},
      pages,
      static_cast<int>(from.kv_heads),
      static_cast<int>(from.page_tokens),
      static_cast<int>(to.page_tokens)};
  const std::int64_t blocks = (to.page_tokens * (from.key_dim / kPiece) + kThreads - 1) / kThreads;
  const dim3 grid(static_cast<unsigned>(std::min<std::int64_t>(blocks, 4096)),
                  static_cast<unsigned>(from.kv_heads), from.values == nullptr ? 1 : 2);
  widen_cache<<<grid, kThreads, 0, stream>>>(arguments);
  check_launch("widening a sequence's keys and values");
}

}  // namespace

void attention_widened(const Attention& op, const AttentionPlan& plan, const Launch& launch) {
  const PagedKv longest = widened_cache(op.kv, plan.widened_tokens);
  const auto take = [&](std::size_t bytes) {
    return static_cast<std::byte*>(launch.scratch.take(bytes));
  };
  std::byte* const keys = take(key_bytes(longest));
  std::byte* const values = op.kv.values == nullptr ? nullptr : take(value_bytes(longest));
  auto* const page_zero = launch.scratch.take_as<int>(1);
  check(cudaMemsetAsync(page_zero, 0, sizeof(int), launch.stream), "clearing a page table");
  Scratch rest(take(plan.widened_scratch), plan.widened_scratch);
  for (std::size_t s = 0; s < op.segments.size(); ++s) {
    const Segment& segment = op.segments[s];
    if (segment.rows < plan.widened_rows || segment.rows > launch.tables.max_rows) continue;
    Attention one = op;
    one.kv = widened_cache(op.kv, segment.past + segment.rows);
    one.kv.keys = keys;
    one.kv.values = values;
    widen_segment(op.kv, one.kv,
                  launch.tables.pages + static_cast<std::int64_t>(s) * launch.tables.page_stride,
                  launch.stream);
    const StepTables tables = widened_tables(launch.tables, s, segment, page_zero);
    rest.give_back_all();
    attention(one, {launch.stream, rest, launch.device, tables, launch.cublas});
  }
}

}  // namespace krasis::cuda
