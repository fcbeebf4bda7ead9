// A context's latents become keys and values of all heads, a block of tokens at a time, which the
// rows of a segment then attend over.
#include <algorithm>

#include "cuda/attention.h"
#include "cuda/attention_expanded.h"
#include "cuda/cublaslt.h"
#include "cuda/float8.cuh"
#include "cuda/linear.h"
#include "cuda/runtime.h"
#include "cuda/tensor_core.cuh"
#include "cuda/tile_dequantize.h"

namespace krasis::cuda {
namespace {

constexpr unsigned kThreads = 256;
constexpr std::int64_t kKeyDim = kExpandedLatent + kExpandedRope;

struct Gathering {
  const uint4* cache;  // [pages, page_tokens, kKeyDim]
  const int* pages;    // of the sequence
  int page_tokens;
  int first, tokens;
  uint4* to;  // [tokens, kKeyDim] of BF16
};

// Copies latents out of their pages; those of E4M3 are widened.
template <bool kNarrow>
__global__ void __launch_bounds__(kThreads) gather_latents(const Gathering g) {
  constexpr int kPieces = static_cast<int>(kKeyDim) / (kNarrow ? 16 : 8);  // of 16 bytes in a row
  const std::int64_t count = std::int64_t{g.tokens} * kPieces;
  for (std::int64_t i = blockIdx.x * std::int64_t{kThreads} + threadIdx.x; i < count;
       i += std::int64_t{gridDim.x} * kThreads) {
    const int token = g.first + static_cast<int>(i / kPieces);
    const std::int64_t row =
        std::int64_t{g.pages[token / g.page_tokens]} * g.page_tokens + token % g.page_tokens;
    const uint4 piece = load_stream(g.cache + row * kPieces + i % kPieces);
    if constexpr (kNarrow) {
      const WidenedPiece widened = widen(piece);
      g.to[2 * i] = widened.low;
      g.to[2 * i + 1] = widened.high;
    } else {
      g.to[i] = piece;
    }
  }
}

void gather(const PagedKv& kv, const Gathering& g, const Launch& launch) {
  const std::int64_t pieces = std::int64_t{g.tokens} * (kKeyDim / 8);
  const auto blocks = static_cast<unsigned>(std::min<std::int64_t>(
      (pieces + kThreads - 1) / kThreads, std::int64_t{launch.device.multiprocessors} * 16));
  const auto kernel = kv.dtype == DType::F8E4M3 ? gather_latents<true> : gather_latents<false>;
  kernel<<<blocks, kThreads, 0, launch.stream>>>(g);
  check_launch("gathering latents");
}

// A matrix in BF16, rows `stride` apart.
struct PlainWeight {
  const __nv_bfloat16* data;
  std::int64_t stride;
};

PlainWeight plain(const Matrix& matrix, const Launch& launch) {
  if (!matrix.tiles) return {reinterpret_cast<const __nv_bfloat16*>(matrix.data), matrix.columns};
  const TileShape& shape = matrix.tiles->shape;
  auto* const to = launch.scratch.take_as<__nv_bfloat16>(
      static_cast<std::size_t>(shape.strips() * kStripRows * shape.padded_columns));
  dequantize_strips(*matrix.tiles, 0, shape.strips(), to, launch);
  return {to, shape.padded_columns};
}

// Scratch memory that all segments of an op use in turn.
struct Expansion {
  PlainWeight key_up, value_up;
  __nv_bfloat16 *latents, *keys, *values;
  float2* limits;

  Expansion(const AttentionOverLatents& op, const ExpandedPlan& plan, const Launch& launch)
      : key_up(plain(op.key_up, launch)), value_up(plain(op.value_up, launch)) {
    const auto take = [&](std::int64_t numbers) {
      return launch.scratch.take_as<__nv_bfloat16>(static_cast<std::size_t>(numbers));
    };
    latents = take(plan.block_tokens * kKeyDim);
    keys = take(plan.block_tokens * op.heads * kExpandedNope);
    values = take(plan.block_tokens * op.heads * kExpandedValue);
    limits =
        launch.scratch.take_as<float2>(static_cast<std::size_t>(launch.tables.max_rows * op.heads));
  }
};

void multiply(const DenseProduct& product, const Launch& launch) {
  Scratch workspace = launch.scratch;
  launch.cublas->multiply(product,
                          {launch.stream, workspace, launch.device, launch.tables, launch.cublas});
}

// Keys and values of the latents of `tokens` tokens.
void expand(const Expansion& e, std::int64_t heads, std::int64_t tokens, const Launch& launch) {
  DenseProduct product = {.x = e.latents,
                          .x_stride = kKeyDim,
                          .columns = kExpandedLatent,
                          .tokens = tokens,
                          .batch = heads};
  product.weight = e.key_up.data;
  product.weight_stride = e.key_up.stride;
  product.weight_transposed = true;
  product.weight_step = kExpandedLatent * e.key_up.stride;
  product.rows = kExpandedNope;
  product.rounded_out = e.keys;
  product.out_stride = kExpandedNope;
  product.out_step = tokens * kExpandedNope;
  multiply(product, launch);
  product.weight = e.value_up.data;
  product.weight_stride = e.value_up.stride;
  product.weight_transposed = false;
  product.weight_step = kExpandedValue * e.value_up.stride;
  product.rows = kExpandedValue;
  product.rounded_out = e.values;
  product.out_stride = kExpandedValue;
  product.out_step = tokens * kExpandedValue;
  multiply(product, launch);
}

void attend(const AttentionOverLatents& op, const ExpandedPlan& plan, const Expansion& e,
            std::size_t number, const Launch& launch) {
  const Segment& segment = op.segments[number];
  const std::int64_t context = segment.past + segment.rows;
  const std::int64_t from = segment.first_row * op.heads, rows = segment.rows * op.heads;
  const int* const pages =
      launch.tables.pages + static_cast<std::int64_t>(number) * launch.tables.page_stride;
  for (std::int64_t first = 0; first < context; first += plan.block_tokens) {
    const std::int64_t tokens = std::min(plan.block_tokens, context - first);
    gather(op.kv,
           {.cache = reinterpret_cast<const uint4*>(op.kv.keys),
            .pages = pages,
            .page_tokens = static_cast<int>(op.kv.page_tokens),
            .first = static_cast<int>(first),
            .tokens = static_cast<int>(tokens),
            .to = reinterpret_cast<uint4*>(e.latents)},
           launch);
    expand(e, op.heads, tokens, launch);
    attention_expanded_hopper(
        {.queries = op.queries.slice(from, rows),
         .rotated = Rows(op.absorbed).columns(kExpandedLatent, kExpandedRope).slice(from, rows),
         .latents = e.latents,
         .keys = e.keys,
         .values = e.values,
         .heads = op.heads,
         .past = segment.past,
         .first = first,
         .tokens = tokens,
         .scale = op.scale,
         .out = op.out.slice(from, rows),
         .limits = tokens == context ? nullptr : e.limits},
        launch.stream);
  }
}

// Calls work(first row, rows) for every run of segments of fewer than least_rows rows, whose rows
// may have rows of no segment between them.
template <class Work>
void for_each_run(std::span<const Segment> segments, std::int64_t least_rows, const Work& work) {
  std::int64_t first = 0, end = 0;
  for (const Segment& segment : segments) {
    if (segment.rows == 0) continue;
    if (segment.rows >= least_rows) {
      if (end > first) work(first, end - first);
      first = end = 0;
      continue;
    }
    if (end == 0) first = segment.first_row;
    end = segment.first_row + segment.rows;
  }
  if (end > first) work(first, end - first);
}

// The segments of fewer than least_rows rows.
void attend_absorbed(const AttentionOverLatents& op, std::int64_t least_rows,
                     const Launch& launch) {
  Scratch workspace = launch.scratch;
  StepTables tables = launch.tables;
  tables.max_rows = static_cast<int>(least_rows - 1);
  const Launch inner{launch.stream, workspace, launch.device, tables, launch.cublas};
  bool any = false;
  const auto multiply_run = [&](HeadLinear product) {
    for_each_run(op.segments, least_rows, [&](std::int64_t first, std::int64_t rows) {
      HeadLinear part = product;
      part.x = product.x.slice(first * op.heads, rows * op.heads);
      part.out = product.out.slice(first * op.heads, rows * op.heads);
      workspace = launch.scratch;
      head_linear(part, inner);
      any = true;
    });
  };
  multiply_run(absorb_queries(op));
  if (!any) return;
  workspace = launch.scratch;
  attention(attend_latents(op), inner);
  multiply_run(raise_values(op));
}

}  // namespace

void attention_over_latents(const AttentionOverLatents& op, const ExpandedPlan& plan,
                            const Launch& launch) {
  attend_absorbed(op, plan.least_rows, launch);
  const Expansion expansion(op, plan, launch);
  for (std::size_t s = 0; s < op.segments.size(); ++s)
    if (op.segments[s].rows >= plan.least_rows) attend(op, plan, expansion, s, launch);
}

}  // namespace krasis::cuda
