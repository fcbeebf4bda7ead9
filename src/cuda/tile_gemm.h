// Products of BF16 rows with tiled weights (quant/expert_tiles.h) on tensor cores: of the rows that
// were routed to each of many experts at once, or of all rows with one matrix. Weights become
// BF16(scale * q), sums are F32; every sum is made by one warp in a fixed order.
#pragma once

#include <cstddef>
#include <cuda_bf16.h>

#include "cuda/launch.h"
#include "quant/tiles.h"

namespace krasis::cuda {

// The same matrix of every expert: expert e's lies where its part of memory starts plus an offset.
struct TileSource {
  const std::byte* base = nullptr;
  std::size_t expert_bytes = 0;
  const std::byte* const* table =
      nullptr;                        // [experts] where each starts; nullptr: base + e * bytes
  std::size_t tiles = 0, scales = 0;  // offsets
  int bits = 4;
  int group = 128;
  int strips = 0;
  int k_tiles = 0;  // a multiple of 8

  static TileSource of(const TileShape& shape, const std::byte* base, std::size_t tiles,
                       std::size_t scales);
};

// Positions [first, first + count) of the pairs in order of experts, 1 <= count <= kBlockTokens.
struct alignas(16) TokenBlock {
  int expert;
  int first;
  int count;
  int unused;
};
constexpr int kBlockTokens = 128;

enum class TileOutput {
  Gated,  // BF16 out[position, r] = silu(gate row r) * up row r; rows as in ops/matrix.h's w13
  Pairs,  // BF16 out[order[position], n]
  Sums,   // F32 out[order[position], n] = scale[order[position]] * value + bias[n]
};

struct TileProduct {
  TileSource weight;
  const __nv_bfloat16* x = nullptr;  // [rows, 16 * k_tiles]
  long long x_stride = 0;            // elements, a multiple of 8

  // Which rows: pair order[position] takes row order[position] / pairs_a_row of x.
  int positions = 0;
  const int* order = nullptr;          // [positions]; nullptr: the position itself
  int pairs_a_row = 1;                 // 0: x has a row a position
  const TokenBlock* blocks = nullptr;  // [*block_count]; nullptr: expert 0, all positions
  const int* block_count = nullptr;

  void* out = nullptr;
  long long out_stride = 0;      // elements
  int rows = 0;                  // rows n of the matrix that are written
  const float* scale = nullptr;  // Sums: [pairs], or nullptr: 1
  const float* bias = nullptr;   // Sums: [rows], or nullptr: 0
};

void tile_gemm(const TileProduct& product, TileOutput output, const Launch& launch);

// The same for few rows, bound by reading the weights; up to 8 pairs of an expert share a read.
// x is F32 or BF16, and every block finds its pairs in the ids by itself: no lists, one launch.
struct TileVector {
  TileSource weight;
  const void* x = nullptr;  // rows of F32 or BF16, each aligned to 16 bytes
  bool x_is_bf16 = false;
  long long x_stride = 0;
  int columns = 0;  // of x that exist, whole 16 bytes; the others count as 0

  int pairs = 0;
  const int* ids = nullptr;  // [pairs] the expert of each, -1: none, adds 0; nullptr: all 0
  int pairs_a_row = 1;       // pair p takes row p / pairs_a_row of x

  // Above 1, the matrix is one of rows / heads rows a head, and there are rows p * heads + head of
  // x and of out. Without ids.
  int heads = 1;

  void* out = nullptr;  // Gated: BF16 [pairs, r]; Sums: F32 [pairs, n]; Pairs is not offered
  long long out_stride = 0;
  int rows = 0;  // rows n that are written, of a head
  const float* scale = nullptr;
  const float* bias = nullptr;

  // Sums of `top_k` pairs each: total[t, n] = sum_j scale[t * top_k + j] * value. Needs `out` as an
  // intermediate without scale and bias, and `arrived` [strips], zero before.
  float* total = nullptr;
  long long total_stride = 0;
  int top_k = 1;
  int* arrived = nullptr;
  // The kernel before this one on the stream has not written the ids (cuda/early_start.cuh).
  bool ids_are_old = false;
  // Set to zero, for a later call.
  int* clear = nullptr;
  int clear_count = 0;
  bool fetch_ahead = false;  // tile_vector() decides
};

void tile_vector(const TileVector& product, TileOutput output, const Launch& launch);

}  // namespace krasis::cuda
