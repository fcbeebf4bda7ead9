#include <algorithm>

#include "cuda/dense_network.h"
#include "cuda/linear.h"
#include "cuda/rows_bf16.h"
#include "cuda/runtime.h"
#include "cuda/tensor_core.cuh"

namespace krasis::cuda {
namespace {

constexpr std::int64_t kLeastTokens = 1024;
constexpr int kThreads = 256;
constexpr int kPiece = 8;  // columns of a thread; gate and up rows lie in turns of as many
constexpr std::size_t kAlignment = 256;

// out[t, r] = scale[t] * silu(gate r of sums[t]) * up r of it, 0 where there is none.
struct Gate {
  const float* sums;
  std::int64_t sums_stride, exists;
  const float* scale;
  __nv_bfloat16* out;
  std::int64_t columns, tokens;
};

__global__ void __launch_bounds__(kThreads) gate_kernel(const Gate g) {
  const std::int64_t pieces = g.columns / kPiece;
  const std::int64_t at = blockIdx.x * std::int64_t{kThreads} + threadIdx.x;
  if (at >= g.tokens * pieces) return;
  const std::int64_t token = at / pieces;
  const std::int64_t piece = at % pieces;
  uint4 words = {};
  if (piece * kPiece < g.exists) {
    const auto* from =
        reinterpret_cast<const float4*>(g.sums + token * g.sums_stride + piece * 2 * kPiece);
    const float4 gate[2] = {__ldcs(from), __ldcs(from + 1)};
    const float4 up[2] = {__ldcs(from + 2), __ldcs(from + 3)};
    const float scale = g.scale[token];
    const auto two = [&](float g0, float u0, float g1, float u1) {
      return pack_bf16(scale * silu(g0) * u0, scale * silu(g1) * u1);
    };
    words = {
        two(gate[0].x, up[0].x, gate[0].y, up[0].y), two(gate[0].z, up[0].z, gate[0].w, up[0].w),
        two(gate[1].x, up[1].x, gate[1].y, up[1].y), two(gate[1].z, up[1].z, gate[1].w, up[1].w)};
  }
  *reinterpret_cast<uint4*>(g.out + token * g.columns + piece * kPiece) = words;
}

TileMatrix matrix_of(const TileShape& shape, const std::byte* base, std::size_t tiles,
                     std::size_t scales) {
  return {.shape = shape,
          .tiles = base + tiles,
          .scales = reinterpret_cast<const bf16*>(base + scales)};
}

// Tokens for which there is room beside what the products take.
std::int64_t part_tokens(const ExpertMatrices::Tiled& tiled, std::int64_t tokens,
                         std::size_t bytes) {
  const std::size_t products =
      std::max(tile_linear_bytes(tiled.w13), tile_linear_bytes(tiled.w2)) + 4 * kAlignment;
  if (bytes <= products) return 0;
  const std::int64_t token_bytes =
      2 * (tiled.w13.padded_columns + tiled.w2.padded_columns) + 4 * tiled.w13.padded_rows;
  return std::min(tokens, static_cast<std::int64_t>(bytes - products) / token_bytes);
}

void run_part(const Experts& op, const Launch& launch) {
  const ExpertMatrices::Tiled& tiled = *op.matrices.tiled;
  const std::int64_t tokens = op.x.rows;
  const std::int64_t columns = tiled.w2.padded_columns;
  const auto of_tokens = [&](std::int64_t numbers) {
    return static_cast<std::size_t>(tokens * numbers);
  };
  Scratch& scratch = launch.scratch;
  auto* x = scratch.take_as<__nv_bfloat16>(of_tokens(tiled.w13.padded_columns));
  auto* gated = scratch.take_as<__nv_bfloat16>(of_tokens(columns));
  const MutableRows sums(scratch.take_as<float>(of_tokens(tiled.w13.padded_rows)), tokens,
                         tiled.w13.padded_rows);
  Scratch rest = scratch.rest();
  const Launch inner{launch.stream, rest, launch.device, launch.tables, launch.cublas};
  rows_to_bf16(op.x, x, tiled.w13.padded_columns, inner);
  tile_linear(matrix_of(tiled.w13, tiled.base, tiled.w13_tiles, tiled.w13_scales), x, sums, inner);
  rest.give_back_all();
  const std::int64_t pieces = tokens * columns / kPiece;
  gate_kernel<<<static_cast<unsigned>((pieces + kThreads - 1) / kThreads), kThreads, 0,
                launch.stream>>>({.sums = sums.data,
                                  .sums_stride = sums.stride,
                                  .exists = tiled.w13.padded_rows / 2,
                                  .scale = op.weights.data(),
                                  .out = gated,
                                  .columns = columns,
                                  .tokens = tokens});
  check_launch("dense_network");
  tile_linear(matrix_of(tiled.w2, tiled.base, tiled.w2_tiles, tiled.w2_scales), gated, op.out,
              inner);
}

}  // namespace

bool is_dense_network(const Experts& op, const Launch& launch) {
  return op.matrices.experts == 1 && op.top_k == 1 && op.matrices.tiled.has_value() &&
         launch.cublas != nullptr && op.x.rows >= kLeastTokens &&
         part_tokens(*op.matrices.tiled, op.x.rows, launch.scratch.bytes()) >= kLeastTokens;
}

void dense_network(const Experts& op, const Launch& launch) {
  const std::int64_t most = part_tokens(*op.matrices.tiled, op.x.rows, launch.scratch.bytes());
  const std::int64_t parts = (op.x.rows + most - 1) / most;
  const std::int64_t part = (op.x.rows + parts - 1) / parts;
  for (std::int64_t first = 0; first < op.x.rows; first += part) {
    const std::int64_t tokens = std::min(part, op.x.rows - first);
    Experts some = op;
    some.x = op.x.slice(first, tokens);
    some.out = op.out.slice(first, tokens);
    some.weights =
        op.weights.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(tokens));
    Scratch again = launch.scratch;  // the parts follow each other on the stream in one memory
    run_part(some, {launch.stream, again, launch.device, launch.tables, launch.cublas});
  }
}

}  // namespace krasis::cuda
