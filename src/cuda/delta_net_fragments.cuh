// Matrices of F16 in blocks of 8 x 8 numbers = 128 consecutive bytes, blocks row-major: what
// ldmatrix and accumulators read and write without bank conflicts, and what copies linearly.
#pragma once

#include <cuda_fp16.h>

#include "cuda/tensor_core.cuh"

namespace krasis::cuda {

constexpr int kBlockNumbers = 64;

// Four blocks of a matrix that is `width` blocks wide, from block (2 * row, 2 * column). As operand
// a of multiply_f16 the second is the one below and the third the one to the right (Down); as
// operand b, two tiles of which come at once, the other way round (Right).
enum class Second : bool { Down, Right };

template <Second second>
__device__ inline unsigned quad_address(const __half* matrix, int width, int row, int column) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int fast = lane / 8 % 2;
  const int slow = lane / 16;
  const int down = second == Second::Down ? fast : slow;
  const int right = second == Second::Down ? slow : fast;
  const int block = (2 * row + down) * width + 2 * column + right;
  return shared_address(matrix + block * kBlockNumbers + lane % 8 * 8);
}

// As load_matrices, each matrix transposed.
__device__ inline void load_transposed(unsigned address, unsigned (&r)[4]) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

// As multiply_add, in F16.
__device__ inline void multiply_f16(float (&c)[4], const unsigned (&a)[4], unsigned b0,
                                    unsigned b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};\n"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Stores an accumulator [16, 8] as blocks (2 * row, column) and (2 * row + 1, column).
__device__ inline void store_tile(__half* matrix, int width, int row, int column,
                                  const float (&c)[4]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  __half* at = matrix + (2 * row * width + column) * kBlockNumbers + lane * 2;
  *reinterpret_cast<__half2*>(at) = __floats2half2_rn(c[0], c[1]);
  *reinterpret_cast<__half2*>(at + width * kBlockNumbers) = __floats2half2_rn(c[2], c[3]);
}

}  // namespace krasis::cuda
