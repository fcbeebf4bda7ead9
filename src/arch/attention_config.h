// Attention as config.json files describe it.
#pragma once

#include "arch/config_reader.h"
#include "arch/model_spec.h"

namespace krasis {

struct GroupedQueryDefaults {
  std::optional<std::int64_t> head_dim = {};  // nullopt: hidden_size / num_attention_heads
  std::optional<double> partial_rotary = {};  // nullopt: whole heads are rotated, always
  bool qk_norm = false;
  bool output_bias = true;  // attention_bias is also the output projection's
};

GroupedQueryAttention read_grouped_query_attention(const ConfigReader& config,
                                                   const ModelSpec& spec,
                                                   const GroupedQueryDefaults& defaults);

// q_lora_rank (null: none), kv_lora_rank, qk_nope_head_dim, qk_rope_head_dim, v_head_dim,
// rope_interleave.
LatentAttention read_latent_attention(const ConfigReader& config, const ModelSpec& spec);

}  // namespace krasis
