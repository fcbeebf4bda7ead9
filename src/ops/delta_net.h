// Gated delta rule (Yang, Kautz, Hatamizadeh 2024, "Gated Delta Networks",
// https://arxiv.org/abs/2412.06464, eq. 10) with the causal convolution in front of it. State lives
// in slots, one a sequence; a segment with past == 0 starts from zero state whatever the slot
// holds.
#pragma once

#include <span>

#include "ops/attention.h"
#include "tensor/tensor.h"

namespace krasis {

// Depthwise causal convolution and SiLU over a sequence's tokens:
//   out[t, c] = silu(sum_{j < width} weight[c, j] * x[t - (width - 1) + j, c])
// x before the segment comes from the slot; afterwards the slot holds the last width - 1 inputs,
// oldest first. x and out do not overlap.
struct CausalConv {
  Rows x;                         // [tokens, channels]
  std::span<const float> weight;  // [channels, width]
  std::int64_t width = 0;
  float* state = nullptr;  // [slots, width - 1, channels]
  std::int64_t slots = 0;
  std::span<const Segment> segments;
  MutableRows out;  // [tokens, channels]
};

// log_decay[t, h] = -exp(a_log[h]) * softplus(a[t, h] + dt_bias[h]),  beta[t, h] = sigmoid(b[t,
// h]); softplus(z) = log(1 + exp(z)). log_decay may be a, beta may be b.
struct DeltaGates {
  Rows a, b;                              // [tokens, value_heads]
  std::span<const float> a_log, dt_bias;  // [value_heads]
  MutableRows log_decay, beta;            // [tokens, value_heads]
};

// For each value head h with key head h / (value_heads / key_heads), token by token:
//   q = l2norm(q) / sqrt(key_dim),  k = l2norm(k),   l2norm(x) = x / sqrt(sum x^2 + 1e-6)
//   S = exp(log_decay) * S;  S = S + k (beta * (v - S^T k))^T;  out = S^T q
// with S [key_dim, value_dim] in the slot, F32.
struct DeltaNet {
  Rows q, k;             // [tokens, key_heads * key_dim]
  Rows v;                // [tokens, value_heads * value_dim]
  Rows log_decay, beta;  // [tokens, value_heads]
  std::int64_t key_heads = 0, value_heads = 0, key_dim = 0, value_dim = 0;
  float* state = nullptr;  // [slots, value_heads, key_dim, value_dim]
  std::int64_t slots = 0;
  std::span<const Segment> segments;
  MutableRows out;  // [tokens, value_heads * value_dim]
};

void check(const CausalConv& op);
void check(const DeltaGates& op);
void check(const DeltaNet& op);

}  // namespace krasis
