#include "arch/attention_config.h"

#include <cmath>
#include <fmt/format.h>

#include "arch/rope_config.h"

namespace krasis {
namespace {

std::int64_t read_head_dim(const ConfigReader& config, const ModelSpec& spec, std::int64_t heads,
                           std::optional<std::int64_t> missing) {
  if (config.has("head_dim")) return config.integer("head_dim", {1, kMaxHeads});
  if (missing) return *missing;
  if (spec.hidden % heads != 0) {
    throw config.corrupt(
        "head_dim",
        fmt::format("hidden_size {} does not divide into {} heads either", spec.hidden, heads));
  }
  return spec.hidden / heads;
}

}  // namespace

GroupedQueryAttention read_grouped_query_attention(const ConfigReader& config,
                                                   const ModelSpec& spec,
                                                   const GroupedQueryDefaults& defaults) {
  GroupedQueryAttention attention;
  attention.heads = config.integer("num_attention_heads", {1, kMaxHeads});
  attention.kv_heads = config.integer("num_key_value_heads", {1, kMaxHeads}, attention.heads);
  if (attention.heads % attention.kv_heads != 0) {
    throw config.corrupt("num_key_value_heads",
                         fmt::format("must divide the {} attention heads", attention.heads));
  }
  attention.head_dim = read_head_dim(config, spec, attention.heads, defaults.head_dim);
  attention.rotary = read_rope(config, {.head_dim = attention.head_dim,
                                        .partial = defaults.partial_rotary,
                                        .context_length = spec.context_length})
                         .rotary;
  attention.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(attention.head_dim)));
  attention.bias = config.flag("attention_bias", false);
  attention.output_bias = attention.bias && defaults.output_bias;
  attention.qk_norm = defaults.qk_norm;
  return attention;
}

LatentAttention read_latent_attention(const ConfigReader& config, const ModelSpec& spec) {
  LatentAttention attention;
  attention.heads = config.integer("num_attention_heads", {1, kMaxHeads});
  attention.kv_lora_rank = config.integer("kv_lora_rank", {1, kMaxWidth});
  attention.q_lora_rank = config.integer("q_lora_rank", {1, kMaxWidth}, 0);
  attention.nope_dim = config.integer("qk_nope_head_dim", {1, kMaxHeads});
  attention.rope_dim = config.integer("qk_rope_head_dim", {1, kMaxHeads});
  attention.value_dim = config.integer("v_head_dim", {1, kMaxHeads});
  attention.bias = config.flag("attention_bias", false);
  const Rope rope = read_rope(config, {.head_dim = attention.rope_dim,
                                       .partial = std::nullopt,
                                       .context_length = spec.context_length,
                                       .interleaved = config.flag("rope_interleave", true)});
  attention.rotary = rope.rotary;
  const auto query_dim = static_cast<double>(attention.nope_dim + attention.rope_dim);
  attention.scale = static_cast<float>(rope.score_scale / std::sqrt(query_dim));
  return attention;
}

}  // namespace krasis
