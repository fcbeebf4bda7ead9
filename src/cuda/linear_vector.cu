// A block owns 16 rows of the matrix, its warps take their columns in turns of 128. Tensor cores
// contract columns in any order that both operands share: a lane reads eight neighbouring elements
// of a row as one 16-byte load and uses them as the pieces of two instructions.
#include "base/error.h"
#include "cuda/linear_vector.h"
#include "cuda/runtime.h"
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

template <int TokenBlocks, bool Aligned>
__device__ void multiply_turns(const PlainProduct& p, const __nv_bfloat16* weight, int first_row,
                               int head, float (&sums)[TokenBlocks][4]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const __nv_bfloat16* rows[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const auto row = min(static_cast<long long>(first_row + half * 8 + lane / 4), p.rows - 1LL);
    rows[half] = weight + row * p.columns;
  }
  for (long long turn = static_cast<int>(threadIdx.x) / kWarp; turn * kTurnColumns < p.columns;
       turn += kWarps) {
    uint4 w[kPieces][2];
    const long long first = turn * kTurnColumns + lane % 4 * 8;
#pragma unroll
    for (int c = 0; c < kPieces; ++c) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        w[c][half] = first + c * 32 < p.columns
                         ? __ldcs(reinterpret_cast<const uint4*>(rows[half] + first + c * 32))
                         : uint4{0, 0, 0, 0};
      }
    }
#pragma unroll
    for (int c = 0; c < kPieces; ++c) {
      const unsigned a0[4] = {w[c][0].x, w[c][1].x, w[c][0].y, w[c][1].y};
      const unsigned a1[4] = {w[c][0].z, w[c][1].z, w[c][0].w, w[c][1].w};
#pragma unroll
      for (int n = 0; n < TokenBlocks; ++n) {
        const int token = n * 8 + lane / 4;
        SplitEight x;
        if (token < p.tokens && first + c * 32 < p.columns)
          x.template load<Aligned>(p.x + (token * p.heads + head) * p.x_stride + first + c * 32);
        multiply_add(sums[n], a0, x.high[0], x.high[1]);
        multiply_add(sums[n], a1, x.high[2], x.high[3]);
        multiply_add(sums[n], a0, x.low[0], x.low[1]);
        multiply_add(sums[n], a1, x.low[2], x.low[3]);
      }
    }
  }
}

template <int TokenBlocks, bool Aligned>
__global__ void __launch_bounds__(kThreads, 2)
    vector_kernel(const __grid_constant__ PlainProduct p) {
  __shared__ float warps[kWarps][kRows][TokenBlocks * 8];
  const int first_row = static_cast<int>(blockIdx.x) * kRows;
  const int head = static_cast<int>(blockIdx.y);
  const auto* weight = static_cast<const __nv_bfloat16*>(p.weight) + head * p.rows * p.columns;
  float sums[TokenBlocks][4] = {};
  multiply_turns<TokenBlocks, Aligned>(p, weight, first_row, head, sums);

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
  kernel<<<grid, kThreads, 0, launch.stream>>>(p);
  check_launch("linear_vector");
}

}  // namespace krasis::cuda
