#include "cuda/linear_few_rows.h"
#include "cuda/linear_plan.h"
#include "cuda/runtime.h"
#include "cuda/tensor_core.cuh"

namespace krasis::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kPiece = 8;  // columns that a lane takes at a time

struct Arguments {
  const __nv_bfloat16* weight;  // [rows, columns]
  const float* x;               // nullptr: the sum of high and low
  const bf16 *high, *low;
  std::int64_t x_stride;
  const float* bias;
  float* out;
  std::int64_t out_stride;
  int tokens, columns;
};

__device__ void unpack(const void* from, float (&numbers)[kPiece]) {
  const uint4 words = *static_cast<const uint4*>(from);
  const unsigned all[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 two = unpack_bf16(all[i]);
    numbers[2 * i] = two.x;
    numbers[2 * i + 1] = two.y;
  }
}

__device__ float rounded(float value) {
  return __bfloat162float(__float2bfloat16_rn(value));
}

// F32 counts with the bits that it would have as high and low.
__device__ void load_x(const Arguments& a, std::int64_t at, float (&numbers)[kPiece]) {
  if (a.x != nullptr) {
#pragma unroll
    for (int i = 0; i < kPiece; ++i) {
      const float value = a.x[at + i];
      const float high = rounded(value);
      numbers[i] = high + rounded(value - high);
    }
    return;
  }
  float rest[kPiece];
  unpack(a.high + at, numbers);
  unpack(a.low + at, rest);
#pragma unroll
  for (int i = 0; i < kPiece; ++i) numbers[i] += rest[i];
}

// A warp: one token, all rows.
template <int kRows>
__global__ void __launch_bounds__(kThreads) few_rows(const Arguments a) {
  const int token = static_cast<int>((blockIdx.x * kThreads + threadIdx.x) / kWarp);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  if (token >= a.tokens) return;
  float sums[kRows] = {};
  const std::int64_t first = token * a.x_stride;
#pragma unroll 4
  for (int k = lane * kPiece; k < a.columns; k += kWarp * kPiece) {
    float x[kPiece];
    load_x(a, first + k, x);
#pragma unroll
    for (int row = 0; row < kRows; ++row) {
      float weights[kPiece];
      unpack(a.weight + std::int64_t{row} * a.columns + k, weights);
#pragma unroll
      for (int i = 0; i < kPiece; ++i) sums[row] += weights[i] * x[i];
    }
  }
#pragma unroll
  for (int row = 0; row < kRows; ++row) {
#pragma unroll
    for (int distance = kWarp / 2; distance > 0; distance /= 2)
      sums[row] += __shfl_xor_sync(~0u, sums[row], distance);
    if (lane == 0) {
      a.out[token * a.out_stride + row] = sums[row] + (a.bias == nullptr ? 0.0f : a.bias[row]);
    }
  }
}

}  // namespace

void linear_few_rows(const Linear& op, const Launch& launch) {
  const Arguments arguments = {.weight = reinterpret_cast<const __nv_bfloat16*>(op.weight.data),
                               .x = op.x.form == RowForm::F32 ? op.x.data : nullptr,
                               .high = op.x.high(),
                               .low = op.x.low(),
                               .x_stride = op.x.stride,
                               .bias = op.bias.empty() ? nullptr : op.bias.data(),
                               .out = op.out.data,
                               .out_stride = op.out.stride,
                               .tokens = static_cast<int>(op.x.rows),
                               .columns = static_cast<int>(op.x.cols)};
  using Kernel = void (*)(Arguments);
  constexpr Kernel kKernels[kFewRows] = {few_rows<1>, few_rows<2>, few_rows<3>, few_rows<4>};
  constexpr std::int64_t kTokens = kThreads / kWarp;  // of a block
  const auto blocks = static_cast<unsigned>((op.x.rows + kTokens - 1) / kTokens);
  const Kernel kernel = kKernels[op.weight.rows - 1];
  kernel<<<blocks, kThreads, 0, launch.stream>>>(arguments);
  check_launch("linear: few rows");
}

}  // namespace krasis::cuda
