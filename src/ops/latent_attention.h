// Attention over a cache of latents (https://arxiv.org/abs/2405.04434, section 2.1).
#pragma once

#include "ops/attention.h"
#include "ops/linear.h"

namespace krasis {

// With a row [c | k_rope] of the cache a token, and for head h W_UK [nope, latent] and W_UV
// [value, latent], a key is [W_UK c | k_rope] and a value W_UV c:
//   out = sum_{i <= p} softmax_i(scale * [q_nope | q_rope] . key_i) * value_i
// Few rows compute that in its absorbed form, in which all heads share the cache's rows as they
// are:
//   score = [W_UK^T q_nope | q_rope] . [c | k_rope],  out = W_UV (sum of weights * c)
// Where many rows meet a context it is less work to expand it to every head's keys and values. Both
// are the same but for rounding; a backend may choose for every segment.
struct AttentionOverLatents {
  Rows queries;  // [tokens * heads, nope]: q_nope
  // [tokens * heads, latent + rope]: q_rope, behind room for W_UK^T q_nope
  MutableRows absorbed;
  MutableRows mixed;  // [tokens * heads, latent]: room for sums of weights * c
  Matrix key_up;      // [heads * latent, nope]: every head's W_UK^T
  Matrix value_up;    // [heads * value, latent]: every head's W_UV
  PagedKv kv;         // one kv head of latent + rope; values are the first latent numbers
  std::span<const Segment> segments;
  std::int64_t heads = 0;
  float scale = 1;
  MutableRows out;  // [tokens * heads, value]; rows in no segment may hold anything
};

// The absorbed form, op by op.
HeadLinear absorb_queries(const AttentionOverLatents& op);
Attention attend_latents(const AttentionOverLatents& op);
HeadLinear raise_values(const AttentionOverLatents& op);

void check(const AttentionOverLatents& op);

}  // namespace krasis
