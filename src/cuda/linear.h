// Products with dense matrices (ops/linear.h). On this device x is rounded to BF16 where tensor
// cores are used for many tokens, never to 8 bits: with BF16 weights and few tokens or few rows
// (linear_plan.h), and with F32 and F16 weights, x counts with 16 bits or more. Sums are F32.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/launch.h"
#include "ops/linear.h"

namespace krasis::cuda {

// All pointers in the ops are device pointers.
void linear(const Linear& op, const Launch& launch);
void head_linear(const HeadLinear& op, const Launch& launch);

// The least form of `rows` rows that linear() reads.
RowForm linear_form(const Matrix& weight, std::int64_t rows, bool has_cublas);

// Scratch that a product of `tokens` tokens with the matrix takes at most.
std::size_t linear_scratch_bytes(const Matrix& weight, std::int64_t tokens, std::int64_t heads = 1);

}  // namespace krasis::cuda
