// Shapes of well-known models, for sums done by hand.
#pragma once

#include "budget/plan.h"

namespace krasis::test {

inline RotarySpec rotary_of(std::size_t dim) {
  return {.frequencies = std::vector<float>(dim / 2, 0.5F)};
}

// 48 layers, 3 of 4 a delta net, 512 experts top-10 of 512, a gated shared expert.
inline ModelSpec next_80b() {
  ModelSpec spec;
  spec.hidden = 2048;
  spec.vocab = 151936;
  spec.context_length = 262144;
  GatedDeltaNet delta = {
      .key_heads = 16, .value_heads = 32, .key_dim = 128, .value_dim = 128, .conv_width = 4};
  GroupedQueryAttention attention;
  attention.heads = 16;
  attention.kv_heads = 2;
  attention.head_dim = 256;
  attention.qk_norm = true;
  attention.output_gate = true;
  attention.rotary = rotary_of(64);
  SparseFfn ffn;
  ffn.intermediate = 512;
  ffn.shared_intermediate = 512;
  ffn.shared_gate = true;
  ffn.routing.experts = 512;
  ffn.routing.top_k = 10;
  for (int layer = 0; layer < 48; ++layer)
    spec.layers.push_back({layer % 4 == 3 ? Mixer(attention) : Mixer(delta), ffn});
  return spec;
}

// 94 layers, 64 heads over 4, 128 experts top-8 of 1536.
inline ModelSpec moe_235b() {
  ModelSpec spec;
  spec.hidden = 4096;
  spec.vocab = 151936;
  spec.context_length = 40960;
  GroupedQueryAttention attention;
  attention.heads = 64;
  attention.kv_heads = 4;
  attention.head_dim = 128;
  attention.qk_norm = true;
  attention.rotary = rotary_of(128);
  SparseFfn ffn;
  ffn.intermediate = 1536;
  ffn.routing.experts = 128;
  ffn.routing.top_k = 8;
  spec.layers.assign(94, {attention, ffn});
  return spec;
}

// 27 layers of latent attention, the first one dense, 64 experts top-6 of 1408 and 2 shared.
inline ModelSpec lite_16b() {
  ModelSpec spec;
  spec.hidden = 2048;
  spec.vocab = 102400;
  spec.context_length = 163840;
  LatentAttention attention;
  attention.heads = 16;
  attention.kv_lora_rank = 512;
  attention.nope_dim = 128;
  attention.rope_dim = 64;
  attention.value_dim = 128;
  attention.rotary = rotary_of(64);
  SparseFfn ffn;
  ffn.intermediate = 1408;
  ffn.shared_intermediate = 2 * 1408;
  ffn.routing.experts = 64;
  ffn.routing.top_k = 6;
  spec.layers.push_back({attention, DenseFfn{.intermediate = 10944}});
  for (int layer = 1; layer < 27; ++layer) spec.layers.push_back({attention, ffn});
  return spec;
}

}  // namespace krasis::test
