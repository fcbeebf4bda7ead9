// Products of a plain matrix with rows of F32, without rounding them to BF16. Rows of x and out are
// t * heads + head, rows of the matrix head * rows + n (ops/linear.h).
#pragma once

#include <cstdint>

#include "cuda/launch.h"
#include "ops/matrix.h"

namespace krasis::cuda {

struct PlainProduct {
  const void* weight = nullptr;  // [heads * rows, columns]
  Matrix::Format format = Matrix::Format::BF16;
  const float* x = nullptr;
  std::int64_t x_stride = 0;
  const float* bias = nullptr;  // [rows] or nullptr
  float* out = nullptr;
  std::int64_t out_stride = 0;
  std::int64_t rows = 0, columns = 0, tokens = 0, heads = 1;
};

// BF16, aligned to 16 bytes, columns a multiple of 8, up to 16 tokens: bound by reading the
// weights. x is taken as the sum of two BF16, so that it counts with 16 bits.
void linear_vector(const PlainProduct& product, const Launch& launch);

// Every format, shape and number of tokens; F32 products.
void linear_any(const PlainProduct& product, const Launch& launch);

}  // namespace krasis::cuda
