// An output tile of 256 rows and up to 128 tokens by mma.sync (sm_80 and above).
#pragma once

#include "cuda/tile_epilogue.cuh"
#include "cuda/tile_fragments.cuh"
#include "cuda/tile_pipeline.cuh"

namespace krasis::cuda {

// How the eight warps share 256 rows and Width tokens. Wide blocks give a warp a whole strip and 64
// tokens, so that weights are dequantized twice and activations read four times; narrow ones half a
// strip and all tokens.
template <int Width>
struct WarpShape {
  static constexpr bool kWide = Width > 64;
  static constexpr int kBlocks = kWide ? 4 : 2;  // of 16 rows
  static constexpr int kTokens = kWide ? Width / 2 : Width;

  __device__ static int strip(int warp) { return kWide ? warp % 4 : warp / 2; }
  __device__ static int first_block(int warp) { return kWide ? 0 : warp % 2 * 2; }
  __device__ static int first_token(int warp) { return kWide ? warp / 4 * kTokens : 0; }
};

template <int Bits, TileOutput Output, int Width>
__device__ void compute_tile(Pipeline<Bits>& pipeline, const TileProduct& p,
                             const TokenBlock& block, int first_strip) {
  using Shape = WarpShape<Width>;
  using Layout = typename Pipeline<Bits>::Layout;
  constexpr int kBlocks = Shape::kBlocks;
  constexpr int kTokens = Shape::kTokens;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int strip = Shape::strip(warp);
  const int first_block = Shape::first_block(warp);
  const int group = p.weight.group;

  const unsigned lane_tiles =
      Layout::kTiles + strip * Layout::kStripBytes + lane * (4 * Bits) + first_block * Bits;
  const unsigned lane_rows = (Shape::first_token(warp) + lane / 16 * 8 + lane % 8) * kRowBytes;
  const unsigned strip_scales = Layout::kScales + strip * 2 * Layout::kGroupBytes;

  float sums[kBlocks][kTokens / 8][4] = {};
  LaneScales<kBlocks> scales;
  for (int s = 0; s < pipeline.grid().stages_of_tile(); ++s) {
    const unsigned stage = pipeline.next();
    scales.load(stage + strip_scales, first_block, lane);
#pragma unroll
    for (int k = 0; k < kStageTiles; ++k) {
      if (k == 2 && group == 32)
        scales.load(stage + strip_scales + Layout::kGroupBytes, first_block, lane);
      TileLane<Bits, kBlocks> tile;
      tile.load_shared(stage + lane_tiles + k * (kWarp * 4 * Bits));
      unsigned x[kTokens / 16][4];
      const unsigned piece = static_cast<unsigned>((k * 2 + lane / 8 % 2) ^ (lane % 8)) * 16;
#pragma unroll
      for (int n = 0; n < kTokens / 16; ++n)
        load_matrices(stage + lane_rows + n * (16 * kRowBytes) + piece, x[n]);
#pragma unroll
      for (int i = 0; i < kBlocks; ++i) {
        __nv_bfloat162 q[4];
        TileWord<Bits>::values(tile.block(i), q);
        unsigned a[4];
#pragma unroll
        for (int n = 0; n < 4; ++n) a[n] = as_bits(__hmul2(q[n], scales.rows[i][n % 2]));
#pragma unroll
        for (int n = 0; n < kTokens / 8; ++n)
          multiply_add(sums[i][n], a, x[n / 2][n % 2 * 2], x[n / 2][n % 2 * 2 + 1]);
      }
      if (k == 0) pipeline.fill();
    }
  }
  const WarpPart part{(first_strip + strip) * static_cast<int>(kStripRows) + first_block * 16,
                      Shape::first_token(warp)};
  const WarpPairs<Output, kTokens> pairs(p, block, part.first_token);
  write_output<Output, kBlocks, kTokens>(p, block, pairs, part, sums);
}

}  // namespace krasis::cuda
