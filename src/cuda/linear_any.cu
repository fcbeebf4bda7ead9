#include <algorithm>
#include <cuda_fp16.h>

#include "base/error.h"
#include "cuda/linear_vector.h"
#include "cuda/runtime.h"
#include "cuda/tensor_core.cuh"

namespace krasis::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr int kFewTokens = 8;
constexpr int kTile = 64;    // rows and tokens of a block
constexpr int kDepth = 16;   // columns at a time
constexpr int kAThread = 4;  // rows and tokens of a thread

__device__ float widen(float value) {
  return value;
}
__device__ float widen(__nv_bfloat16 value) {
  return __bfloat162float(value);
}
__device__ float widen(__half value) {
  return __half2float(value);
}

// A warp a row of the matrix, all tokens.
template <class T>
__global__ void few_kernel(const __grid_constant__ PlainProduct p) {
  const long long row = blockIdx.x * static_cast<long long>(kWarps) + threadIdx.x / kWarp;
  if (row >= p.rows) return;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const long long head = blockIdx.y;
  const T* w = static_cast<const T*>(p.weight) + (head * p.rows + row) * p.columns;
  float sums[kFewTokens] = {};
  for (long long k = lane; k < p.columns; k += kWarp) {
    const float weight = widen(w[k]);
#pragma unroll
    for (int t = 0; t < kFewTokens; ++t)
      if (t < p.tokens) sums[t] += weight * p.x[(t * p.heads + head) * p.x_stride + k];
  }
#pragma unroll
  for (int t = 0; t < kFewTokens; ++t) {
    for (int step = kWarp / 2; step > 0; step /= 2)
      sums[t] += __shfl_xor_sync(0xFFFFFFFFu, sums[t], step);
    if (t < p.tokens && lane == 0) {
      const float bias = p.bias != nullptr ? p.bias[row] : 0.0f;
      p.out[(t * p.heads + head) * p.out_stride + row] = sums[t] + bias;
    }
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads) many_kernel(const __grid_constant__ PlainProduct p) {
  __shared__ float weights[kDepth][kTile + 1];
  __shared__ float inputs[kDepth][kTile + 1];
  const long long head = blockIdx.z;
  const long long first_row = blockIdx.x * static_cast<long long>(kTile);
  const long long first_token = blockIdx.y * static_cast<long long>(kTile);
  const int own_row = static_cast<int>(threadIdx.x) % (kTile / kAThread);
  const int own_token = static_cast<int>(threadIdx.x) / (kTile / kAThread);
  float sums[kAThread][kAThread] = {};
  for (long long start = 0; start < p.columns; start += kDepth) {
    for (int at = static_cast<int>(threadIdx.x); at < kDepth * kTile; at += kThreads) {
      const long long k = start + at % kDepth;
      const long long row = first_row + at / kDepth;
      const long long token = first_token + at / kDepth;
      weights[at % kDepth][at / kDepth] =
          k < p.columns && row < p.rows
              ? widen(static_cast<const T*>(p.weight)[(head * p.rows + row) * p.columns + k])
              : 0.0f;
      inputs[at % kDepth][at / kDepth] =
          k < p.columns && token < p.tokens ? p.x[(token * p.heads + head) * p.x_stride + k] : 0.0f;
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < kDepth; ++k) {
#pragma unroll
      for (int t = 0; t < kAThread; ++t) {
#pragma unroll
        for (int r = 0; r < kAThread; ++r) {
          sums[t][r] += weights[k][own_row + r * (kTile / kAThread)] *
                        inputs[k][own_token + t * (kTile / kAThread)];
        }
      }
    }
    __syncthreads();
  }
  for (int t = 0; t < kAThread; ++t) {
    for (int r = 0; r < kAThread; ++r) {
      const long long row = first_row + own_row + r * (kTile / kAThread);
      const long long token = first_token + own_token + t * (kTile / kAThread);
      if (row >= p.rows || token >= p.tokens) continue;
      const float bias = p.bias != nullptr ? p.bias[row] : 0.0f;
      p.out[(token * p.heads + head) * p.out_stride + row] = sums[t][r] + bias;
    }
  }
}

template <class T>
void start(const PlainProduct& p, const Launch& launch) {
  const auto blocks = [](std::int64_t count, int size) {
    return static_cast<unsigned>((count + size - 1) / size);
  };
  const auto heads = static_cast<unsigned>(p.heads);
  if (p.tokens <= kFewTokens) {
    few_kernel<T><<<dim3(blocks(p.rows, kWarps), heads), kThreads, 0, launch.stream>>>(p);
    return check_launch("linear: few tokens");
  }
  // A grid has at most 65535 blocks in its second and third direction.
  constexpr std::int64_t kPart = std::int64_t{kTile} * 65535;
  for (std::int64_t first = 0; first < p.tokens; first += kPart) {
    PlainProduct part = p;
    part.x += first * p.heads * p.x_stride;
    part.out += first * p.heads * p.out_stride;
    part.tokens = std::min(kPart, p.tokens - first);
    const dim3 grid(blocks(p.rows, kTile), blocks(part.tokens, kTile), heads);
    many_kernel<T><<<grid, kThreads, 0, launch.stream>>>(part);
    check_launch("linear: many tokens");
  }
}

}  // namespace

void linear_any(const PlainProduct& p, const Launch& launch) {
  switch (p.format) {
    case Matrix::Format::F32:
      return start<float>(p, launch);
    case Matrix::Format::BF16:
      return start<__nv_bfloat16>(p, launch);
    case Matrix::Format::F16:
      return start<__half>(p, launch);
    case Matrix::Format::Tiles:
      throw Error(ErrorCode::Internal, "linear: tiles have no plain elements");
  }
}

}  // namespace krasis::cuda
