#include "cuda/dense_gemm.h"
#include "cuda/runtime.h"
#include "cuda/tensor_core.cuh"

namespace krasis::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kTile = 128;         // rows and tokens of a block
constexpr int kStageColumns = 64;  // as rows of 128 bytes: 8 pieces of 16, swizzled
constexpr int kRowBytes = kStageColumns * 2;
constexpr int kOperandBytes = kTile * kRowBytes;
constexpr int kStageBytes = 2 * kOperandBytes;
constexpr int kStages = 3;  // 96 KB: what the smallest cards let a block have
constexpr int kPieces = kRowBytes / 16;
constexpr int kWarpRows = 32;
constexpr int kWarpTokens = 64;

// A block's rows of one operand; rows past the end repeat the last.
struct Operand {
  const __nv_bfloat16* data;
  long long stride, rows, first;

  __device__ void copy(unsigned to, long long column, long long columns) const {
    const int thread = static_cast<int>(threadIdx.x);
#pragma unroll
    for (int i = 0; i < kTile * kPieces / kThreads; ++i) {
      const int row = thread / kPieces + i * (kThreads / kPieces);
      const int piece = thread % kPieces;
      const long long k = column + piece * 8;
      const bool exists = k < columns;
      copy_async_or_zero(to + row * kRowBytes + static_cast<unsigned>(piece ^ (row % 8)) * 16,
                         data + min(first + row, rows - 1) * stride + (exists ? k : 0), exists);
    }
  }
};

// Address in an operand's stage of what load_matrices wants for 16 rows and the k-th 16 columns:
// `order` says how the four 8x8 matrices lie, as (row half, column half) of matrix l / 8.
__device__ unsigned piece_address(int first_row, int k, int row_half, int column_half) {
  const int row = first_row + row_half * 8 + static_cast<int>(threadIdx.x) % 8;
  return row * kRowBytes + static_cast<unsigned>((k * 2 + column_half) ^ (row % 8)) * 16;
}

__device__ void multiply_stage(unsigned stage, int warp_row, int warp_token,
                               float (&sums)[2][8][4]) {
  const int matrix = static_cast<int>(threadIdx.x) % kWarp / 8;
#pragma unroll
  for (int k = 0; k < kStageColumns / 16; ++k) {
    unsigned a[2][4];
#pragma unroll
    for (int i = 0; i < 2; ++i)
      load_matrices(stage + piece_address(warp_row + i * 16, k, matrix % 2, matrix / 2), a[i]);
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      unsigned b[4];
      load_matrices(
          stage + kOperandBytes + piece_address(warp_token + n * 16, k, matrix / 2, matrix % 2), b);
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        multiply_add(sums[i][2 * n], a[i], b[0], b[1]);
        multiply_add(sums[i][2 * n + 1], a[i], b[2], b[3]);
      }
    }
  }
}

__global__ void __launch_bounds__(kThreads, 2)
    dense_kernel(const __grid_constant__ DenseProduct p) {
  extern __shared__ __align__(128) std::byte memory[];
  const unsigned shared = shared_address(memory);
  const long long batch = blockIdx.z;
  const Operand weight{p.weight + batch * p.weight_step, p.weight_stride, p.rows,
                       blockIdx.x * static_cast<long long>(kTile)};
  const Operand x{p.x + batch * p.x_step, p.x_stride, p.tokens,
                  blockIdx.y * static_cast<long long>(kTile)};
  const int stages = static_cast<int>((p.columns + kStageColumns - 1) / kStageColumns);
  const auto fill = [&](int index) {
    if (index < stages) {
      const unsigned stage = shared + index % kStages * kStageBytes;
      weight.copy(stage, index * static_cast<long long>(kStageColumns), p.columns);
      x.copy(stage + kOperandBytes, index * static_cast<long long>(kStageColumns), p.columns);
    }
    copy_async_commit();
  };
  for (int i = 0; i < kStages - 1; ++i) fill(i);

  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int warp_row = warp % (kTile / kWarpRows) * kWarpRows;
  const int warp_token = warp / (kTile / kWarpRows) * kWarpTokens;
  float sums[2][8][4] = {};
  for (int s = 0; s < stages; ++s) {
    copy_async_wait<kStages - 2>();
    __syncthreads();
    fill(s + kStages - 1);
    multiply_stage(shared + s % kStages * kStageBytes, warp_row, warp_token, sums);
  }

  float* out = p.out + batch * p.out_step;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const long long row = weight.first + warp_row + i * 16 + half * 8 + lane / 4;
      if (row >= p.rows) continue;
      const float bias = p.bias != nullptr ? p.bias[row] : 0.0f;
#pragma unroll
      for (int n = 0; n < 16; ++n) {
        const long long token = x.first + warp_token + n / 2 * 8 + lane % 4 * 2 + n % 2;
        if (token >= p.tokens) continue;
        float& to = out[token * p.out_stride + row];
        to = sums[i][n / 2][half * 2 + n % 2] + bias + (p.adds ? to : 0.0f);
      }
    }
  }
}

}  // namespace

void dense_gemm(const DenseProduct& p, const Launch& launch) {
  if (p.rows == 0 || p.tokens == 0 || p.batch == 0) return;
  check(cudaFuncSetAttribute(dense_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             kStages * kStageBytes),
        "setting the dense product's shared memory");
  const auto blocks = [](std::int64_t count) {
    return static_cast<unsigned>((count + kTile - 1) / kTile);
  };
  const dim3 grid(blocks(p.rows), blocks(p.tokens), static_cast<unsigned>(p.batch));
  dense_kernel<<<grid, kThreads, kStages * kStageBytes, launch.stream>>>(p);
  check_launch("dense_gemm");
}

}  // namespace krasis::cuda
