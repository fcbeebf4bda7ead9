// Attention over latents in the expanded form (ops/latent_attention.h).
#pragma once

#include <cuda_bf16.h>

#include "cuda/attention_expanded_plan.h"

namespace krasis::cuda {

// The whole op: the segments of at least plan.least_rows rows, which is above 0, in the expanded
// form, the others in the absorbed one. Expanded keys and values, queries times the scale, and
// weights are rounded to BF16, sums are F32. Reads op.segments on the host.
void attention_over_latents(const AttentionOverLatents& op, const ExpandedPlan& plan,
                            const Launch& launch);

// A segment's rows and a block of its context.
struct ExpandedBlock {
  Rows queries;                  // [rows * heads, nope]
  Rows rotated;                  // [rows * heads, rope]
  const __nv_bfloat16* latents;  // [tokens, latent + rope], of which the rope part is read
  const __nv_bfloat16* keys;     // [heads, tokens, nope]
  const __nv_bfloat16* values;   // [heads, tokens, value]
  std::int64_t heads, past;
  std::int64_t first, tokens;  // of the context: the block is tokens [first, first + tokens)
  float scale;
  MutableRows out;  // [rows * heads, value]
  // [rows * heads]: largest score and sum of weights so far; nullptr if the block is the context.
  // What earlier blocks left in out and limits is taken in if first > 0.
  float2* limits;
};

// sm_90 only. Blocks but the last hold whole tiles of tokens.
void attention_expanded_hopper(const ExpandedBlock& block, cudaStream_t stream);

}  // namespace krasis::cuda
