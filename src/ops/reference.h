// The oracle's operations, one function each, plain loops in double. Private to this folder.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "ops/ops.h"

namespace krasis::reference {

void embedding(const Embedding& op);
void rms_norm(const RmsNorm& op);
void gated_rms_norm(const GatedRmsNorm& op);
void add_norm(const AddNorm& op);
void add(const Add& op);
void copy(const Copy& op);
void sigmoid_multiply(const SigmoidMultiply& op);
void rotary_table(const RotaryTable& op);
void rotary(const Rotary& op);
void linear(const Linear& op);
void head_linear(const HeadLinear& op);
void kv_append(const KvAppend& op);
void attention(const Attention& op);
void attention_over_latents(const AttentionOverLatents& op);  // the up-projections not tiles
void causal_conv(const CausalConv& op);
void delta_gates(const DeltaGates& op);
void delta_net(const DeltaNet& op);
void route(const Route& op);
void experts(const Experts& op);
void top_logits(const TopLogits& op);

inline double sigmoid(double z) {
  return 1 / (1 + std::exp(-z));
}
inline double silu(double z) {
  return z * sigmoid(z);
}

// Element (row, column) of a matrix that is not tiles.
double element(const Matrix& matrix, std::int64_t row, std::int64_t column);

// What a cache holds.
double key_number(const PagedKv& kv, const Segment& segment, std::int64_t head, std::int64_t token,
                  std::int64_t index);

// y = W[first, first + count) x. With tiles, x is quantized as quant/activations.h says and
// products and sums after that are exact to double.
std::vector<double> multiply(const Matrix& matrix, std::int64_t first, std::int64_t count,
                             std::span<const float> x);

}  // namespace krasis::reference
