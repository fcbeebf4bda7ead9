// Embedding, normalisation and the operations that work number by number. All rows are F32, but
// that `out` may be written in a form for products alone (ops/product_rows.h) where memory() is not
// the program's own; it is then no other operand.
#pragma once

#include <span>

#include "ops/matrix.h"
#include "ops/product_rows.h"
#include "tensor/tensor.h"

namespace krasis {

// out[t, :] = table[ids[t], :]
// table [vocab, hidden] F32, BF16 or F16. Throws InvalidArgument if an id is outside [0, vocab).
struct Embedding {
  std::span<const std::int32_t> ids;  // [tokens]
  Matrix table;
  MutableRows out;  // [tokens, hidden]
};

// out[t, d] = x[t, d] / sqrt(mean_d(x[t, d]^2) + eps) * weight[d]
// Zhang & Sennrich 2019, https://arxiv.org/abs/1910.07467, eq. 4. A zero-centred norm stores
// weight - 1; the loader adds the 1. out may be x itself.
struct RmsNorm {
  Rows x;                         // [tokens, hidden]
  std::span<const float> weight;  // [hidden]
  float eps = 0;                  // finite, > 0
  MutableProductRows out;         // [tokens, hidden]
};

// out[t, d] = rms_norm(x)[t, d] * silu(gate[t, d]), silu(z) = z / (1 + exp(-z)). out may be x.
struct GatedRmsNorm {
  Rows x;                         // [tokens, width]
  Rows gate;                      // [tokens, width]
  std::span<const float> weight;  // [width]
  float eps = 0;
  MutableProductRows out;  // [tokens, width]
};

// sum = x + (y + z), each addition rounded to F32; out = rms_norm(sum). What a layer's part adds to
// the residual stream comes in one piece or in two (z may have no rows). sum may be x.
struct AddNorm {
  Rows x, y, z;                   // [tokens, hidden]; z or [0, 0]
  std::span<const float> weight;  // [hidden]
  float eps = 0;
  MutableRows sum;         // [tokens, hidden]
  MutableProductRows out;  // [tokens, hidden]
};

// out = x + (y + z), each addition rounded to F32; z may have no rows. out may be any of them.
struct Add {
  Rows x, y;        // [tokens, width]
  Rows z{};         // [tokens, width] or [0, 0]
  MutableRows out;  // [tokens, width]
};

// out = x, from one stride to another. x and out do not overlap.
struct Copy {
  Rows x;           // [tokens, width]
  MutableRows out;  // [tokens, width]
};

// out[t, d] = x[t, d] * sigmoid(gate[t, d]); a gate of one column serves all d. out may be x.
struct SigmoidMultiply {
  Rows x;                  // [tokens, width]
  Rows gate;               // [tokens, width] or [tokens, 1]
  MutableProductRows out;  // [tokens, width]
};

void check(const Embedding& op);
void check_shapes(const Embedding& op);  // all but what ids holds
void check(const RmsNorm& op);
void check(const GatedRmsNorm& op);
void check(const AddNorm& op);
void check(const Add& op);
void check(const Copy& op);
void check(const SigmoidMultiply& op);

// Throws Error(InvalidArgument) "operation: id 7 is not in [0, 5)" unless all are in
// [least, count).
void check_ids(const char* operation, std::span<const std::int32_t> ids, std::int64_t count,
               std::int64_t least = 0);

}  // namespace krasis
