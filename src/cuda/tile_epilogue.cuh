// What becomes of the sums of a warp's part of an output tile.
#pragma once

#include "cuda/tensor_core.cuh"
#include "cuda/tile_gemm.h"

namespace krasis::cuda {

// threadIdx.x, asked for anew: what follows from it is not kept in registers that sums need.
__device__ inline int thread_now() {
  int thread;
  asm volatile("mov.u32 %0, %%tid.x;\n" : "=r"(thread));
  return thread;
}

// The part: blocks of 16 rows from `first_row` on, tokens from `first_token` of the block on.
struct WarpPart {
  int first_row;
  int first_token;
};

// Sums as multiply_add leaves them: 16-row block i, 8-token block n.
template <int Blocks, int Tokens>
using WarpSums = float[Blocks][Tokens / 8][4];

// Writes go out in pieces of eight BF16 rows of a token: a lane's after the exchange of a quad of
// pieces, so that whole sectors are written.
__device__ inline void write_piece(__nv_bfloat16* to, const unsigned (&words)[4]) {
  *reinterpret_cast<uint4*>(to) = {words[0], words[1], words[2], words[3]};
}

template <int Blocks, int Tokens>
__device__ void write_gated(const TileProduct& p, const TokenBlock& block, WarpPart part,
                            const WarpSums<Blocks, Tokens>& sums) {
  constexpr int kAtATime = 4 / Blocks;  // tokens' columns whose pieces make a quad
  const int lane = thread_now() % kWarp;
  const int own = lane % 4;  // of the quad's pieces
  const int row = part.first_row / 2 + own % Blocks * 8;
#pragma unroll
  for (int n = 0; n < Tokens / 8; n += kAtATime) {
    unsigned words[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float(&c)[4] = sums[i % Blocks][n + i / Blocks];
      words[i] = transpose8x8(pack_bf16(silu(c[0]) * c[2], silu(c[1]) * c[3]));
    }
    exchange_quad(words);
    const int token = part.first_token + (n + own / Blocks) * 8 + lane / 4;
    if (token < block.count && row < p.rows) {
      write_piece(static_cast<__nv_bfloat16*>(p.out) + (block.first + token) * p.out_stride + row,
                  words);
    }
  }
}

// The pairs of a warp's tokens: lane l holds those of tokens l, l + 32, ... Read before the sums
// are waited for, all at once.
template <TileOutput Output, int Tokens>
class WarpPairs {
 public:
  __device__ WarpPairs(const TileProduct& p, const TokenBlock& block, int first_token) {
    if constexpr (Output != TileOutput::Gated) {
#pragma unroll
      for (int i = 0; i < kHeld; ++i) {
        const int at = first_token + i * kWarp + thread_now() % kWarp;
        const int position = block.first + at;
        pairs_[i] = at >= block.count    ? -1
                    : p.order != nullptr ? __ldg(p.order + position)
                                         : position;
      }
    }
  }

  // Of token 8 * eight + within, -1 past the block's end. All lanes together, with one `eight`.
  __device__ int of(int eight, int within) const {
    return __shfl_sync(0xFFFFFFFFu, pairs_[eight / 4], eight % 4 * 8 + within);
  }

 private:
  static constexpr int kHeld = Output == TileOutput::Gated ? 1 : (Tokens + kWarp - 1) / kWarp;
  int pairs_[kHeld];
};

template <int Blocks, int Tokens>
__device__ void write_pairs(const TileProduct& p, const WarpPairs<TileOutput::Pairs, Tokens>& to,
                            WarpPart part, const WarpSums<Blocks, Tokens>& sums) {
  const int lane = thread_now() % kWarp;
#pragma unroll
  for (int n = 0; n < Tokens / 8; ++n) {
    const int pair = to.of(n, lane / 4);
    auto* out = static_cast<__nv_bfloat16*>(p.out) + pair * p.out_stride;
#pragma unroll
    for (int quad = 0; quad < Blocks / 2; ++quad) {
      unsigned words[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float* c = sums[quad * 2 + i / 2][n] + i % 2 * 2;
        words[i] = transpose8x8(pack_bf16(c[0], c[1]));
      }
      exchange_quad(words);
      const int row = part.first_row + quad * 32 + lane % 4 * 8;
      if (pair >= 0 && row < p.rows) write_piece(out + row, words);
    }
  }
}

template <int Blocks, int Tokens>
__device__ void write_sums(const TileProduct& p, const WarpPairs<TileOutput::Sums, Tokens>& to,
                           WarpPart part, const WarpSums<Blocks, Tokens>& sums) {
  const int lane = thread_now() % kWarp;
  float bias[2 * Blocks];
#pragma unroll
  for (int i = 0; i < 2 * Blocks; ++i) {
    const int row = part.first_row + i * 8 + lane / 4;
    bias[i] = p.bias != nullptr && row < p.rows ? __ldg(p.bias + row) : 0.0f;
  }
#pragma unroll
  for (int n = 0; n < Tokens / 4; ++n) {
    const int pair = to.of(n / 2, lane % 4 * 2 + n % 2);
    if (pair < 0) continue;
    const float scale = p.scale != nullptr ? __ldg(p.scale + pair) : 1.0f;
    float* out = static_cast<float*>(p.out) + pair * p.out_stride;
#pragma unroll
    for (int i = 0; i < 2 * Blocks; ++i) {
      const int row = part.first_row + i * 8 + lane / 4;
      if (row < p.rows) out[row] = scale * sums[i / 2][n / 2][i % 2 * 2 + n % 2] + bias[i];
    }
  }
}

template <TileOutput Output, int Blocks, int Tokens>
__device__ void write_output(const TileProduct& p, const TokenBlock& block,
                             const WarpPairs<Output, Tokens>& pairs, WarpPart part,
                             const WarpSums<Blocks, Tokens>& sums) {
  if constexpr (Output == TileOutput::Gated) write_gated<Blocks, Tokens>(p, block, part, sums);
  if constexpr (Output == TileOutput::Pairs) write_pairs<Blocks, Tokens>(p, pairs, part, sums);
  if constexpr (Output == TileOutput::Sums) write_sums<Blocks, Tokens>(p, pairs, part, sums);
}

}  // namespace krasis::cuda
