// The CPU's products with tiled matrices. Their layout is described in quant/expert_tiles.h, the
// arithmetic in quant/activations.h: integer sums are exact and the F32 steps have one order, so
// every row of the table gives the same bits for a token, whatever other tokens are computed with
// it. To add a row: write tile_<isa>.cpp, declare its functions here, add it to tile_table.cpp. The
// unit test and the benchmark run every row that the processor supports.
//
// Files built for one instruction set include this header and <immintrin.h>, nothing else: an
// inline function they emit may be the copy the linker keeps for everybody.
#pragma once

#include <cstddef>
#include <cstdint>

namespace krasis::cpu {

// out[out_rows[t]][n] = sum_k x[in_rows[t]][k] * W[n][k] over a run of strips of one matrix.
struct TileProduct {
  const std::uint8_t* tiles;  // of the first strip; the others follow
  const std::uint16_t* scales;
  std::int64_t strips;
  std::int64_t columns;  // padded
  int bits, group;

  const std::int8_t* q;           // [*, columns], see TileActivations
  const float* x_scales;          // [*, columns / group]
  const std::int32_t* x_offsets;  // [*, columns / group]
  const std::int32_t* in_rows;    // [rows]
  std::int64_t rows;

  // A strip gives 64 columns of the result; with `gated` 32: silu(gate) * up of the interleaved
  // rows. What lies beyond out_columns is not written.
  float* out;
  std::int64_t out_stride;
  const std::int32_t* out_rows;  // [rows]
  std::int64_t out_columns;      // that exist, counted from the first strip
  bool gated;

  std::uint8_t* scratch;  // kTileScratchBytes, aligned to 64
};
constexpr std::size_t kTileScratchBytes = std::size_t{1} << 20;

// One row of activations as quant/activations.h defines it, with q in the order of the tiles: of
// each 16 columns those numbered 0 8 1 9, 2 10 3 11, 4 12 5 13, 6 14 7 15; and for each group the
// sum of its q times `weight_offset`, which the stored weights' offset (8 or 128) adds to each dot
// product.
struct TileActivations {
  const float* x;  // [columns]
  std::int64_t columns;
  std::int64_t padded;  // a multiple of 128; zeros from `columns` on
  int group;
  int weight_offset;
  std::int8_t* q;         // [padded]
  float* scales;          // [padded / group]
  std::int32_t* offsets;  // [padded / group]
};

// out[c] = the sum over j, ascending, of fma(weights[j], parts[j * columns + c], sum), from 0.
struct WeightedSum {
  const float* parts;  // [terms, columns], rows `stride` apart
  std::int64_t stride;
  const float* weights;  // [terms]
  std::int64_t terms;
  std::int64_t columns;
  float* out;  // [columns]
};

using TileProductFn = void(const TileProduct& job);
using TileActivationsFn = void(const TileActivations& job);
using WeightedSumFn = void(const WeightedSum& job);

TileProductFn tile_product_scalar;
TileProductFn tile_product_avx2;
TileProductFn tile_product_avxvnni;
TileProductFn tile_product_avx512;
TileProductFn tile_product_amx;
TileActivationsFn tile_activations_scalar;
TileActivationsFn tile_activations_avx2;
WeightedSumFn weighted_sum_scalar;
WeightedSumFn weighted_sum_avx2;

// silu(g) * u = g / (1 + exp(-g)) * u, as (g / (1 + e)) * u with
//   x = min(max(-g, kLowestExponent), kHighestExponent)    the bound if g is NaN
//   n = round_to_nearest_even(x * kLog2E)
//   r = fma(n, -kLn2Low, fma(n, -kLn2High, x))             |r| <= ln 2 / 2
//   e = 2^n * (the Taylor polynomial of exp(r) of degree 7, by Horner's rule with fma)
// each step in F32. The polynomial leaves out r^8 / 8! < 6e-9 of the result.
constexpr float kLowestExponent = -87.0F;
constexpr float kHighestExponent = 88.0F;
constexpr float kLog2E = 1.44269504F;
constexpr float kLn2High = 0.693359375F;  // 10 bits: n * kLn2High is exact
constexpr float kLn2Low = -2.12194440e-4F;
constexpr int kExpTerms = 8;
inline constexpr float kExpTaylor[kExpTerms] = {1.0F / 5040, 1.0F / 720, 1.0F / 120, 1.0F / 24,
                                                1.0F / 6,    0.5F,       1.0F,       1.0F};

constexpr float kTinyActivation = 1e-30F;  // kSmallestActivation of quant/activations.h

}  // namespace krasis::cpu
