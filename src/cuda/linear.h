// Products with dense matrices (ops/linear.h). On this device x is rounded to BF16 where tensor
// cores are used for many tokens, never to 8 bits: with BF16 weights and few tokens or few rows
// (linear_plan.h), and with F32 and F16 weights, x counts with 16 bits or more. Sums are F32.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cuda_bf16.h>

#include "cuda/launch.h"
#include "ops/linear.h"

namespace krasis::cuda {

// All pointers in the ops are device pointers.
void linear(const Linear& op, const Launch& launch);
void head_linear(const HeadLinear& op, const Launch& launch);

// out = x weight^T for rows x of weight.shape.padded_columns that follow each other, rounded
// already: the matrix is dequantized once and multiplied as BF16.
void tile_linear(const TileMatrix& weight, const __nv_bfloat16* x, MutableRows out,
                 const Launch& launch);
// Scratch that it takes at most.
std::size_t tile_linear_bytes(const TileShape& weight);

// Scratch that a product of `tokens` tokens with the matrix takes at most.
std::size_t linear_scratch_bytes(const Matrix& weight, std::int64_t tokens, std::int64_t heads = 1);

}  // namespace krasis::cuda
