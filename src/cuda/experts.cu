#include <algorithm>

#include "base/error.h"
#include "cuda/expert_lists.h"
#include "cuda/experts.h"
#include "cuda/experts_plain.h"
#include "cuda/rows_bf16.h"
#include "cuda/runtime.h"
#include "cuda/tensor_core.cuh"
#include "cuda/tile_gemm.h"

namespace krasis::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kPiece = 8;                // columns that a thread of the last sum adds: 16 bytes
constexpr std::int64_t kLeastPart = 64;  // tokens
// Beyond this a part's weights are read once for so many tokens that more bring nothing.
constexpr std::size_t kMaxPartBytes = std::size_t{1} << 30;
constexpr std::size_t kAlignment = 256;

// Sizes of the intermediates, in elements.
struct Widths {
  std::int64_t x, gated, gated_exists, result;

  explicit Widths(const ExpertMatrices::Tiled& tiled)
      : x(tiled.w13.padded_columns),
        gated(tiled.w2.padded_columns),
        gated_exists(tiled.w13.padded_rows / 2),
        result(tiled.w2.padded_rows) {}

  // Of `tokens` tokens at once.
  std::size_t bytes(std::int64_t experts, std::int64_t tokens, std::int64_t top_k) const {
    const auto pairs = static_cast<std::size_t>(tokens * top_k);
    const bool whole = experts == 1 && top_k == 1;
    const auto numbers = static_cast<std::size_t>(x) * static_cast<std::size_t>(tokens) +
                         static_cast<std::size_t>(gated) * pairs +
                         (top_k == 1 ? 0 : static_cast<std::size_t>(result) * pairs);
    return numbers * sizeof(__nv_bfloat16) + 3 * kAlignment +
           (whole ? 0 : expert_lists_bytes(static_cast<int>(pairs), static_cast<int>(experts)));
  }
};

// The least even number of parts that stay within `bytes`, in whole blocks of tokens.
std::int64_t part_tokens(const Widths& widths, const ExpertMatrices& matrices, std::int64_t tokens,
                         std::int64_t top_k, std::size_t bytes) {
  std::int64_t parts = 1;
  const auto size = [&] {
    const std::int64_t even = (tokens + parts - 1) / parts;
    return parts == 1 ? even : (even + kLeastPart - 1) / kLeastPart * kLeastPart;
  };
  while (size() > kLeastPart && widths.bytes(matrices.experts, size(), top_k) > bytes) ++parts;
  return size();
}

// out = x + (the sum of a token's weighted values + z); no x, no z: no data.
struct PairSums {
  const __nv_bfloat16* values;  // [tokens, top_k, width]
  long long width;
  const int* ids;        // [tokens, top_k]
  const float* weights;  // [tokens, top_k]
  int top_k;
  Rows x, z;
  MutableRows out;
};

template <bool Aligned>
__device__ void load_numbers(const Rows& rows, long long token, long long column,
                             float (&numbers)[kPiece]) {
  const float* from = rows.data + token * rows.stride + column;
  if (Aligned && column + kPiece <= rows.cols) {
#pragma unroll
    for (int i = 0; i < kPiece; i += 4) {
      const float4 four = *reinterpret_cast<const float4*>(from + i);
      numbers[i] = four.x, numbers[i + 1] = four.y;
      numbers[i + 2] = four.z, numbers[i + 3] = four.w;
    }
  } else {
#pragma unroll
    for (int i = 0; i < kPiece; ++i) numbers[i] = column + i < rows.cols ? from[i] : 0.0f;
  }
}

template <bool Aligned>
__global__ void add_pairs_kernel(const PairSums pairs) {
  const MutableRows& out = pairs.out;
  const long long pieces = (out.cols + kPiece - 1) / kPiece;
  const long long all = out.rows * pieces;
  for (long long at = blockIdx.x * static_cast<long long>(kThreads) + threadIdx.x; at < all;
       at += static_cast<long long>(gridDim.x) * kThreads) {
    const long long token = at / pieces;
    const long long column = at % pieces * kPiece;
    float base[kPiece] = {}, more[kPiece] = {};
    if (pairs.x.data != nullptr) load_numbers<Aligned>(pairs.x, token, column, base);
    if (pairs.z.data != nullptr) load_numbers<Aligned>(pairs.z, token, column, more);
    float sum[kPiece] = {};
    const auto* from = pairs.values + token * pairs.top_k * pairs.width + column;
#pragma unroll 4
    for (int j = 0; j < pairs.top_k; ++j) {
      if (pairs.ids[token * pairs.top_k + j] < 0) continue;  // nobody wrote its value
      const float weight = pairs.weights[token * pairs.top_k + j];
      const uint4 v = __ldcs(reinterpret_cast<const uint4*>(from + j * pairs.width));
      const unsigned words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float2 two = unpack_bf16(words[i]);
        sum[2 * i] += weight * two.x;
        sum[2 * i + 1] += weight * two.y;
      }
    }
#pragma unroll
    for (int i = 0; i < kPiece; ++i) sum[i] = base[i] + (sum[i] + more[i]);
    float* to = out.data + token * out.stride + column;
    if (Aligned && column + kPiece <= out.cols) {
      reinterpret_cast<float4*>(to)[0] = {sum[0], sum[1], sum[2], sum[3]};
      reinterpret_cast<float4*>(to)[1] = {sum[4], sum[5], sum[6], sum[7]};
    } else {
#pragma unroll
      for (int i = 0; i < kPiece; ++i)
        if (column + i < out.cols) to[i] = sum[i];
    }
  }
}

bool in_fours(const Rows& rows) {
  return rows.data == nullptr ||
         (reinterpret_cast<std::uintptr_t>(rows.data) % 16 == 0 && rows.stride % 4 == 0);
}

void add_pairs(const __nv_bfloat16* values, std::int64_t width, const Experts& op, const Add* sum,
               const Launch& launch) {
  const PairSums pairs = {.values = values,
                          .width = width,
                          .ids = op.ids.data(),
                          .weights = op.weights.data(),
                          .top_k = static_cast<int>(op.top_k),
                          .x = sum != nullptr ? sum->x : Rows{},
                          .z = sum != nullptr ? sum->z : Rows{},
                          .out = sum != nullptr ? sum->out : op.out};
  const std::int64_t wanted = op.out.rows * ((op.out.cols + kPiece - 1) / kPiece) / kThreads + 1;
  const auto blocks = static_cast<unsigned>(
      std::min<std::int64_t>(wanted, std::int64_t{launch.device.multiprocessors} * 32));
  const bool aligned = in_fours(pairs.x) && in_fours(pairs.z) && in_fours(pairs.out);
  const auto kernel = aligned ? add_pairs_kernel<true> : add_pairs_kernel<false>;
  kernel<<<blocks, kThreads, 0, launch.stream>>>(pairs);
  check_launch("experts: sum");
}

void clear(MutableRows rows, const Launch& launch) {
  check(cudaMemset2DAsync(rows.data, static_cast<std::size_t>(rows.stride) * sizeof(float), 0,
                          static_cast<std::size_t>(rows.cols) * sizeof(float),
                          static_cast<std::size_t>(rows.rows), launch.stream),
        "clearing the experts' sums");
}

struct Sources {
  TileSource w13, w2;

  Sources(const ExpertMatrices::Tiled& tiled, const std::byte* const* table)
      : w13(TileSource::of(tiled.w13, tiled.base, tiled.w13_tiles, tiled.w13_scales)),
        w2(TileSource::of(tiled.w2, tiled.base, tiled.w2_tiles, tiled.w2_scales)) {
    w13.expert_bytes = w2.expert_bytes = tiled.expert_bytes;
    w13.table = w2.table = table;
  }
};

// Two launches, bound by reading the weights.
void few_tokens(const Experts& op, const Sources& sources, const Launch& launch) {
  const Widths widths(*op.matrices.tiled);
  const auto pairs = static_cast<std::size_t>(op.x.rows * op.top_k);
  const bool one = op.matrices.experts == 1 && op.top_k == 1;
  Scratch& scratch = launch.scratch;

  TileVector first{.weight = sources.w13,
                   .x = op.x.data,
                   .x_stride = op.x.stride,
                   .columns = static_cast<int>(op.x.cols),
                   .pairs = static_cast<int>(pairs),
                   .ids = one ? nullptr : op.ids.data(),
                   .pairs_a_row = static_cast<int>(op.top_k)};
  const bool aligned = reinterpret_cast<std::uintptr_t>(op.x.data) % 16 == 0 &&
                       op.x.stride % 4 == 0 && op.x.cols % 4 == 0;
  if (!aligned) {
    auto* rounded = scratch.take_as<__nv_bfloat16>(static_cast<std::size_t>(op.x.rows * widths.x));
    rows_to_bf16(op.x, rounded, widths.x, launch);
    first.x = rounded;
    first.x_is_bf16 = true;
    first.x_stride = widths.x;
    first.columns = static_cast<int>(widths.x);
  }
  first.out_stride = widths.gated_exists;
  first.out = scratch.take_as<__nv_bfloat16>(pairs * static_cast<std::size_t>(first.out_stride));

  TileVector second{.weight = sources.w2,
                    .x = first.out,
                    .x_is_bf16 = true,
                    .x_stride = first.out_stride,
                    .columns = static_cast<int>(widths.gated_exists),
                    .pairs = first.pairs,
                    .ids = first.ids,
                    .out = op.out.data,
                    .out_stride = op.out.stride,
                    .rows = static_cast<int>(op.matrices.hidden),
                    .scale = op.weights.data(),
                    .ids_are_old = true};
  if (op.top_k > 1) {
    second.top_k = static_cast<int>(op.top_k);
    second.total = op.out.data;
    second.total_stride = op.out.stride;
    second.out_stride = widths.result;
    second.out = scratch.take_as<float>(pairs * static_cast<std::size_t>(widths.result));
    second.arrived = scratch.take_as<int>(static_cast<std::size_t>(sources.w2.strips));
    first.clear = second.arrived;
    first.clear_count = sources.w2.strips;
  }
  tile_vector(first, TileOutput::Gated, launch);
  tile_vector(second, TileOutput::Sums, launch);
}

// Eight pairs share a read of an expert's weights; while most experts have no more, reading them is
// all there is to do. Every block looks through all pairs, which bounds their number.
constexpr std::int64_t kVectorPairsAnExpert = 4;
constexpr std::int64_t kVectorPairs = 640;
// With one expert, blocks of 256 rows and up to 128 tokens are too few for all multiprocessors.
constexpr std::int64_t kDenseVectorTokens = 64;

bool are_few(const ExpertMatrices& matrices, std::int64_t tokens, std::int64_t top_k) {
  if (matrices.experts == 1 && top_k == 1) return tokens <= kDenseVectorTokens;
  return tokens <= kVectorTokens ||
         tokens * top_k <= std::min(kVectorPairs, kVectorPairsAnExpert * matrices.experts);
}

struct Intermediates {
  const __nv_bfloat16* x;
  __nv_bfloat16* gated;
  __nv_bfloat16* result;  // nullptr if top_k is 1
};

void many_tokens(const Experts& op, const Add* sum, const Sources& sources,
                 const Intermediates& memory, const Launch& launch) {
  const Widths widths(*op.matrices.tiled);
  const auto pairs = static_cast<int>(op.x.rows * op.top_k);
  ExpertLists lists;
  if (op.matrices.experts > 1 || op.top_k > 1)
    lists = expert_lists(op.ids.data(), pairs, static_cast<int>(op.matrices.experts), launch);
  TileProduct first{.weight = sources.w13,
                    .x = memory.x,
                    .x_stride = widths.x,
                    .positions = pairs,
                    .order = lists.order,
                    .pairs_a_row = static_cast<int>(op.top_k),
                    .blocks = lists.blocks,
                    .block_count = lists.block_count,
                    .out = memory.gated,
                    .out_stride = widths.gated,
                    .rows = static_cast<int>(widths.gated_exists)};
  // w2's padding is zero, but what is left in memory need not be a number.
  if (widths.gated > widths.gated_exists) {
    const auto row_bytes = static_cast<std::size_t>(widths.gated) * sizeof(__nv_bfloat16);
    check(cudaMemsetAsync(memory.gated, 0, row_bytes * static_cast<std::size_t>(pairs),
                          launch.stream),
          "clearing the experts' intermediate");
  }
  tile_gemm(first, TileOutput::Gated, launch);

  TileProduct second = first;
  second.weight = sources.w2;
  second.x = memory.gated;
  second.x_stride = widths.gated;
  second.pairs_a_row = 0;
  if (op.top_k == 1) {
    if (lists.order != nullptr) clear(op.out, launch);  // of tokens that have no expert
    second.out = op.out.data;
    second.out_stride = op.out.stride;
    second.rows = static_cast<int>(op.matrices.hidden);
    second.scale = op.weights.data();
    tile_gemm(second, TileOutput::Sums, launch);
    return;
  }
  second.out = memory.result;
  second.out_stride = widths.result;
  second.rows = static_cast<int>(widths.result);
  tile_gemm(second, TileOutput::Pairs, launch);
  add_pairs(memory.result, widths.result, op, sum, launch);
}

// The rows of a part of the tokens.
Add part_of(const Add& sum, std::int64_t first, std::int64_t tokens) {
  return {.x = sum.x.slice(first, tokens),
          .y = sum.y.slice(first, tokens),
          .z = sum.z.rows > 0 ? sum.z.slice(first, tokens) : Rows{},
          .out = sum.out.slice(first, tokens)};
}

void tiled_experts(const Experts& op, const Add* sum, const Sources& sources,
                   const Launch& launch) {
  if (are_few(op.matrices, op.x.rows, op.top_k)) return few_tokens(op, sources, launch);

  const Widths widths(*op.matrices.tiled);
  const std::int64_t part = part_tokens(widths, op.matrices, op.x.rows, op.top_k,
                                        std::min(kMaxPartBytes, launch.scratch.bytes()));
  for (std::int64_t first = 0; first < op.x.rows; first += part) {
    const std::int64_t tokens = std::min(part, op.x.rows - first);
    const auto pairs = static_cast<std::size_t>(tokens * op.top_k);
    Experts some = op;
    some.x = op.x.slice(first, tokens);
    some.out = op.out.slice(first, tokens);
    some.ids = op.ids.subspan(static_cast<std::size_t>(first * op.top_k), pairs);
    some.weights = op.weights.subspan(static_cast<std::size_t>(first * op.top_k), pairs);
    Scratch again = launch.scratch;  // the parts follow each other on the stream in one memory
    const Launch inner{launch.stream, again, launch.device, launch.tables};
    Intermediates memory{};
    memory.x = op.x.form == RowForm::F32
                   ? high_rows(some.x, widths.x, inner)
                   : reinterpret_cast<const __nv_bfloat16*>(op.x.high()) + first * widths.x;
    memory.gated = again.take_as<__nv_bfloat16>(pairs * static_cast<std::size_t>(widths.gated));
    if (op.top_k > 1)
      memory.result = again.take_as<__nv_bfloat16>(pairs * static_cast<std::size_t>(widths.result));
    const Add some_sum = sum != nullptr ? part_of(*sum, first, tokens) : Add{};
    many_tokens(some, sum != nullptr ? &some_sum : nullptr, sources, memory, inner);
  }
}

}  // namespace

void experts(const Experts& op, const Launch& launch) {
  if (op.x.rows == 0) return;
  if (!op.matrices.tiled.has_value()) return plain_experts(op, launch);
  tiled_experts(op, nullptr, Sources(*op.matrices.tiled, nullptr), launch);
}

void experts_and_add(const Experts& op, const Add& sum, const Launch& launch) {
  tiled_experts(op, &sum, Sources(*op.matrices.tiled, nullptr), launch);
}

void experts_at(const std::byte* const* table, const Experts& op, const Launch& launch,
                const Add* sum) {
  if (op.x.rows > 0) tiled_experts(op, sum, Sources(*op.matrices.tiled, table), launch);
}

bool experts_add(const ExpertMatrices& matrices, std::int64_t rows, std::int64_t top_k) {
  return matrices.tiled.has_value() && top_k > 1 && !are_few(matrices, rows, top_k);
}

RowForm experts_form(const ExpertMatrices& matrices, std::int64_t rows, std::int64_t top_k) {
  const bool fits = matrices.tiled.has_value() &&
                    matrices.tiled->w13.padded_columns == matrices.hidden &&
                    !are_few(matrices, rows, top_k);
  return fits ? RowForm::High : RowForm::F32;
}

std::size_t experts_scratch_bytes(const ExpertMatrices& matrices, std::int64_t tokens,
                                  std::int64_t top_k) {
  if (!matrices.tiled.has_value()) return plain_experts_bytes(matrices, tokens, top_k);
  const Widths widths(*matrices.tiled);
  if (are_few(matrices, tokens, top_k)) {
    const std::int64_t pairs = tokens * top_k;
    const std::int64_t strips = matrices.tiled->w2.strips();
    return static_cast<std::size_t>(2 * tokens * widths.x + 2 * pairs * widths.gated_exists +
                                    4 * pairs * widths.result + 4 * strips) +
           4 * kAlignment;
  }
  const std::int64_t part = part_tokens(widths, matrices, tokens, top_k, kMaxPartBytes);
  return widths.bytes(matrices.experts, part, top_k);
}

}  // namespace krasis::cuda
