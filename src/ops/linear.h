// Products with dense weight matrices. x and out are F32 and do not overlap; sums are accumulated
// in F32 or wider. With Tiles, x is quantized to 8 bits a token and group first (the same in every
// backend: scale = max|x| / 127 over the group, round to nearest even); with F32, BF16 and F16 the
// weights are widened and x stays as it is.
#pragma once

#include <span>

#include "ops/matrix.h"
#include "ops/product_rows.h"
#include "tensor/tensor.h"

namespace krasis {

// out[t, n] = sum_k x[t, k] * weight[n, k] + bias[n]
struct Linear {
  ProductRows x;                // [tokens, K], in a form that Ops::form_for() allows
  Matrix weight;                // [N, K]
  std::span<const float> bias;  // [N], or empty
  MutableRows out;              // [tokens, N]
};

// One matrix a head: out[t * heads + h, n] = sum_k x[t * heads + h, k] * weight[h * N + n, k].
// With Tiles, N is a multiple of 64.
struct HeadLinear {
  Rows x;         // [tokens * heads, K]
  Matrix weight;  // [heads * N, K]
  std::int64_t heads = 0;
  MutableRows out;  // [tokens * heads, N]
};

void check(const Linear& op);
void check(const HeadLinear& op);

}  // namespace krasis
