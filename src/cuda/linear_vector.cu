// A block owns 16 rows of the matrix, its warps take their columns in turns of 128. Tensor cores
// contract columns in any order that both operands share: a lane reads eight neighbouring elements
// of a row as one 16-byte load and uses them as the pieces of two instructions.
#include "base/error.h"
#include "cuda/early_start.cuh"
#include "cuda/linear_vector.h"
#include "cuda/tensor_core.cuh"

namespace krasis::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr int kRows = 16;
constexpr int kPieces = 4;  // of 32 columns in a turn
constexpr int kTurnColumns = kPieces * 32;
constexpr int kMaxTokens = 16;

// Eight elements of x as high and low parts.
struct SplitEight {
  unsigned high[4] = {};
  unsigned low[4] = {};

  template <bool Aligned>
  __device__ void load(const float* x) {
    float v[8];
    if constexpr (Aligned) {
      const float4 first = reinterpret_cast<const float4*>(x)[0];
      const float4 second = reinterpret_cast<const float4*>(x)[1];
      v[0] = first.x, v[1] = first.y, v[2] = first.z, v[3] = first.w;
      v[4] = second.x, v[5] = second.y, v[6] = second.z, v[7] = second.w;
    } else {
#pragma unroll
      for (int i = 0; i < 8; ++i) v[i] = x[i];
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      high[i] = pack_bf16(v[2 * i], v[2 * i + 1]);
      const float2 rounded = unpack_bf16(high[i]);
      low[i] = pack_bf16(v[2 * i] - rounded.x, v[2 * i + 1] - rounded.y);
    }
  }
};

// A warp's share of 16 rows: turns warp, warp + kWarps, ... A piece's registers are filled again as
// soon as they have been used.
class Share {
 public:
  // Starts reading weights.
  __device__ Share(const PlainProduct& p, const __nv_bfloat16* weight, int first_row)
      : columns_(p.columns),
        first_(static_cast<long long>(threadIdx.x / kWarp) * kTurnColumns + threadIdx.x % 4 * 8) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = first_row + half * 8 + static_cast<int>(threadIdx.x) % kWarp / 4;
      rows_[half] = weight + min(static_cast<long long>(row), p.rows - 1LL) * p.columns;
    }
#pragma unroll
    for (int c = 0; c < kPieces; ++c) load(c, first_ + c * 32);
  }

  template <int TokenBlocks, bool Aligned>
  __device__ void multiply(const PlainProduct& p, int head, float (&sums)[TokenBlocks][4]) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const float* x[TokenBlocks];
#pragma unroll
    for (int n = 0; n < TokenBlocks; ++n) {
      const int token = n * 8 + lane / 4;
      x[n] = token < p.tokens ? p.x + (token * p.heads + head) * p.x_stride : nullptr;
    }
    // The warp's columns, not the lane's: its lanes stay together.
    for (long long turn = first_ - lane % 4 * 8; turn < columns_; turn += kStep, first_ += kStep) {
#pragma unroll
      for (int c = 0; c < kPieces; ++c) {
        const long long column = first_ + c * 32;
        const uint4 low = w_[c][0];
        const uint4 high = w_[c][1];
        load(c, column + kStep);
        const unsigned a0[4] = {low.x, high.x, low.y, high.y};
        const unsigned a1[4] = {low.z, high.z, low.w, high.w};
#pragma unroll
        for (int n = 0; n < TokenBlocks; ++n) {
          SplitEight eight;
          if (x[n] != nullptr && column < columns_) eight.load<Aligned>(x[n] + column);
          multiply_add(sums[n], a0, eight.high[0], eight.high[1]);
          multiply_add(sums[n], a1, eight.high[2], eight.high[3]);
          multiply_add(sums[n], a0, eight.low[0], eight.low[1]);
          multiply_add(sums[n], a1, eight.low[2], eight.low[3]);
        }
      }
    }
  }

 private:
  static constexpr long long kStep = kWarps * kTurnColumns;

  __device__ void load(int piece, long long column) {
#pragma unroll
    for (int half = 0; half < 2; ++half)
      w_[piece][half] = column < columns_ ? load_stream(rows_[half] + column) : uint4{0, 0, 0, 0};
  }

  long long columns_, first_;
  const __nv_bfloat16* rows_[2];
  uint4 w_[kPieces][2];
};

template <int TokenBlocks, bool Aligned>
__global__ void __launch_bounds__(kThreads, 2)
    vector_kernel(const __grid_constant__ PlainProduct p) {
  __shared__ float warps[kWarps][kRows][TokenBlocks * 8];
  const int first_row = static_cast<int>(blockIdx.x) * kRows;
  const int head = static_cast<int>(blockIdx.y);
  const auto* weight = static_cast<const __nv_bfloat16*>(p.weight) + head * p.rows * p.columns;
  let_later_start();
  Share share(p, weight, first_row);
  wait_for_earlier();
  float sums[TokenBlocks][4] = {};
  share.multiply<TokenBlocks, Aligned>(p, head, sums);

  const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
  for (int n = 0; n < TokenBlocks; ++n) {
#pragma unroll
    for (int c = 0; c < 4; ++c)
      warps[threadIdx.x / kWarp][c / 2 * 8 + lane / 4][n * 8 + lane % 4 * 2 + c % 2] = sums[n][c];
  }
  __syncthreads();
  for (int at = static_cast<int>(threadIdx.x); at < kRows * static_cast<int>(p.tokens);
       at += kThreads) {
    const int token = at / kRows;
    const int row = first_row + at % kRows;
    if (row >= p.rows) continue;
    float sum = p.bias != nullptr ? p.bias[row] : 0.0f;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) sum += warps[w][at % kRows][token];
    p.out[(token * p.heads + head) * p.out_stride + row] = sum;
  }
}

}  // namespace

void linear_vector(const PlainProduct& p, const Launch& launch) {
  ensure(p.tokens <= kMaxTokens, "linear_vector: too many tokens");
  const dim3 grid(static_cast<unsigned>((p.rows + kRows - 1) / kRows),
                  static_cast<unsigned>(p.heads));
  const bool aligned = reinterpret_cast<std::uintptr_t>(p.x) % 16 == 0 && p.x_stride % 4 == 0;
  const auto kernel = p.tokens <= 8 ? (aligned ? vector_kernel<1, true> : vector_kernel<1, false>)
                                    : (aligned ? vector_kernel<2, true> : vector_kernel<2, false>);
  start_early(kernel, grid, dim3(kThreads), p, launch);
}

}  // namespace krasis::cuda
