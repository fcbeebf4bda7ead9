// A block owns 16 rows of the matrix, its warps - no more than have work, so that blocks that have
// started early leave room for others - take their columns in turns of 128. Tensor cores
// contract columns in any order that both operands share: a lane reads eight neighbouring elements
// of a row as one 16-byte load and uses them as the pieces of two instructions.
#include <algorithm>

#include "base/error.h"
#include "cuda/early_start.cuh"
#include "cuda/linear_vector.h"
#include "cuda/staged_rows.cuh"
#include "cuda/tensor_core.cuh"

namespace krasis::cuda {
namespace {

constexpr int kMostWarps = 8;
constexpr int kRows = 16;
constexpr int kPieces = 4;  // of 32 columns in a turn
constexpr int kTurnColumns = kPieces * 32;
constexpr int kMaxTokens = 16;

// Eight elements of x as high and low parts.
struct SplitEight {
  unsigned high[4];
  unsigned low[4];

  __device__ explicit SplitEight(const float* x) {
    const float4 first = reinterpret_cast<const float4*>(x)[0];
    const float4 second = reinterpret_cast<const float4*>(x)[1];
    const float v[8] = {first.x, first.y, first.z, first.w, second.x, second.y, second.z, second.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      high[i] = pack_bf16(v[2 * i], v[2 * i + 1]);
      const float2 rounded = unpack_bf16(high[i]);
      low[i] = pack_bf16(v[2 * i] - rounded.x, v[2 * i + 1] - rounded.y);
    }
  }
};

// A warp's share of 16 rows: turns warp, warp + the block's warps, ... A piece's registers are
// filled again as soon as they have been used.
class Share {
 public:
  // Starts reading weights.
  __device__ Share(const PlainProduct& p, const __nv_bfloat16* weight, int first_row)
      : columns_(p.columns),
        step_(static_cast<long long>(blockDim.x / kWarp) * kTurnColumns),
        first_(static_cast<long long>(threadIdx.x / kWarp) * kTurnColumns + threadIdx.x % 4 * 8) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = first_row + half * 8 + static_cast<int>(threadIdx.x) % kWarp / 4;
      rows_[half] = weight + min(static_cast<long long>(row), p.rows - 1LL) * p.columns;
    }
#pragma unroll
    for (int c = 0; c < kPieces; ++c) load(c, first_ + c * 32);
  }

  template <class Rows8>
  __device__ void multiply(Rows8& rows, float (&sums)[4]) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    // The warp's columns, not the lane's: its lanes stay together.
    for (long long turn = first_ - lane % 4 * 8; turn < columns_; turn += step_, first_ += step_) {
      const auto* x =
          reinterpret_cast<const float*>(rows.take() + lane / 4 * Rows8::kRowBytes) + lane % 4 * 8;
#pragma unroll
      for (int c = 0; c < kPieces; ++c) {
        const uint4 low = w_[c][0];
        const uint4 high = w_[c][1];
        load(c, first_ + c * 32 + step_);
        const unsigned a0[4] = {low.x, high.x, low.y, high.y};
        const unsigned a1[4] = {low.z, high.z, low.w, high.w};
        const SplitEight eight(x + c * 32);
        multiply_add(sums, a0, eight.high[0], eight.high[1]);
        multiply_add(sums, a1, eight.high[2], eight.high[3]);
        multiply_add(sums, a0, eight.low[0], eight.low[1]);
        multiply_add(sums, a1, eight.low[2], eight.low[3]);
      }
      rows.give_back();
    }
  }

 private:
  __device__ void load(int piece, long long column) {
#pragma unroll
    for (int half = 0; half < 2; ++half)
      w_[piece][half] = column < columns_ ? load_stream(rows_[half] + column) : uint4{0, 0, 0, 0};
  }

  long long columns_, step_, first_;
  const __nv_bfloat16* rows_[2];
  uint4 w_[kPieces][2];
};

template <bool Aligned>
__global__ void __launch_bounds__(kMostWarps* kWarp, 2)
    vector_kernel(const __grid_constant__ PlainProduct p, bool fetch_ahead) {
  using Rows8 = StagedRowsOf<float, 16, Aligned>;
  __shared__ float warps[kMostWarps][kRows][kStagedRows];
  __shared__ const float* rows[kStagedRows];
  extern __shared__ __align__(16) std::byte shared[];
  let_later_start();
  const int first_token = static_cast<int>(blockIdx.x) * kStagedRows;
  const int tokens = min(kStagedRows, static_cast<int>(p.tokens) - first_token);
  const int first_row = static_cast<int>(blockIdx.y) * kRows;
  const int head = static_cast<int>(blockIdx.z);
  const auto* weight = static_cast<const __nv_bfloat16*>(p.weight) + head * p.rows * p.columns;
  Share share(p, weight, first_row);
  if (fetch_ahead && threadIdx.x == 0) {
    prefetch_to_l2(weight + first_row * p.columns,
                   static_cast<unsigned>(min(kRows, static_cast<int>(p.rows) - first_row) *
                                         p.columns * sizeof(__nv_bfloat16)));
  }
  if (threadIdx.x < tokens) {
    const long long row = (first_token + threadIdx.x) * p.heads + head;
    rows[threadIdx.x] = p.x + row * p.x_stride;
  }
  __syncthreads();
  wait_for_earlier();
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int count = static_cast<int>(blockDim.x) / kWarp;
  Rows8 staged(shared + warp * Rows8::kWarpBytes, rows, tokens, p.columns, warp * kTurnColumns,
               static_cast<long long>(count) * kTurnColumns);
  float sums[4] = {};
  share.multiply(staged, sums);

  const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
  for (int c = 0; c < 4; ++c) warps[warp][c / 2 * 8 + lane / 4][lane % 4 * 2 + c % 2] = sums[c];
  __syncthreads();
  for (int at = static_cast<int>(threadIdx.x); at < kRows * tokens;
       at += static_cast<int>(blockDim.x)) {
    const int row = first_row + at % kRows;
    if (row >= p.rows) continue;
    float sum = p.bias != nullptr ? p.bias[row] : 0.0f;
    for (int w = 0; w < count; ++w) sum += warps[w][at % kRows][at / kRows];
    const long long out_row = (first_token + at / kRows) * p.heads + head;
    p.out[out_row * p.out_stride + row] = sum;
  }
}

}  // namespace

void linear_vector(const PlainProduct& p, const Launch& launch) {
  ensure(p.tokens <= kMaxTokens, "linear_vector: too many tokens");
  const auto warps = static_cast<std::size_t>(
      std::clamp<std::int64_t>((p.columns + kTurnColumns - 1) / kTurnColumns, 1, kMostWarps));
  // Neighbouring blocks read the same weights, the second from the L2 cache.
  const Grid grid{.blocks = dim3(static_cast<unsigned>((p.tokens + kStagedRows - 1) / kStagedRows),
                                 static_cast<unsigned>((p.rows + kRows - 1) / kRows),
                                 static_cast<unsigned>(p.heads)),
                  .threads = dim3(static_cast<unsigned>(warps) * kWarp),
                  .shared_bytes = warps * StagedRowsOf<float, 16, true>::kWarpBytes};
  const bool aligned = reinterpret_cast<std::uintptr_t>(p.x) % 16 == 0 && p.x_stride % 4 == 0;
  // What does not stay in the L2 cache until it is used is better read once.
  const auto weight_bytes =
      static_cast<std::size_t>(p.rows * p.columns * p.heads) * sizeof(__nv_bfloat16);
  start_early(aligned ? vector_kernel<true> : vector_kernel<false>, grid, launch, p,
              weight_bytes <= launch.device.l2_bytes / 2);
}

}  // namespace krasis::cuda
