#include "budget/device_bytes.h"

#include <algorithm>

namespace krasis {
namespace {

constexpr std::int64_t kFloatBytes = 4;

// Numbers a token that a mixer keeps at the same time (src/model/*_layer.cpp).
std::int64_t mixer_width(const GroupedQueryAttention& mixer) {
  const std::int64_t query = mixer.heads * mixer.head_dim;
  return query * (mixer.output_gate ? 3 : 2) + 2 * mixer.kv_heads * mixer.head_dim;
}

std::int64_t mixer_width(const LatentAttention& mixer) {
  const std::int64_t key = mixer.kv_lora_rank + mixer.rope_dim;
  return key + mixer.q_lora_rank +
         mixer.heads *
             (mixer.nope_dim + mixer.rope_dim + key + mixer.kv_lora_rank + mixer.value_dim);
}

std::int64_t mixer_width(const GatedDeltaNet& mixer) {
  const std::int64_t keys = mixer.key_heads * mixer.key_dim;
  const std::int64_t values = mixer.value_heads * mixer.value_dim;
  return 2 * (2 * keys + values) + 2 * mixer.value_heads + 2 * values;
}

std::int64_t ffn_width(const DenseFfn& ffn, std::int64_t hidden) {
  return ffn.bias ? 2 * (hidden + 128) : 0;
}

std::int64_t ffn_width(const SparseFfn& ffn, std::int64_t hidden) {
  return ffn.routing.experts + 2 * ffn.routing.top_k + (ffn.shared_intermediate > 0 ? hidden : 0);
}

}  // namespace

std::uint64_t dense_weight_bytes(const ModelSpec& spec, const WeightBytes& weights) {
  WeightBytes dense = weights;
  dense.expert = 0;
  // A tied head that is kept as BF16 is the embedding itself.
  if (spec.tied_head && weights.lm_head >= 2) dense.lm_head = 0;
  return decode_weight_bytes(spec, dense) +
         static_cast<std::uint64_t>(spec.vocab) * static_cast<std::uint64_t>(spec.hidden) * 2;
}

std::uint64_t expert_weight_bytes(const ModelSpec& spec, const WeightBytes& weights) {
  double count = 0;
  for (const LayerSpec& layer : spec.layers) {
    const auto* ffn = std::get_if<SparseFfn>(&layer.ffn);
    if (ffn == nullptr) continue;
    count += 3 * static_cast<double>(spec.hidden) * static_cast<double>(ffn->intermediate) *
             static_cast<double>(ffn->routing.experts);
  }
  return static_cast<std::uint64_t>(count * weights.expert);
}

std::uint64_t workspace_bytes(const ModelSpec& spec, std::int64_t tokens) {
  std::int64_t widest = 0;
  for (const LayerSpec& layer : spec.layers) {
    const std::int64_t mixer =
        std::visit([](const auto& part) { return mixer_width(part); }, layer.mixer);
    const std::int64_t ffn =
        std::visit([&](const auto& part) { return ffn_width(part, spec.hidden); }, layer.ffn);
    widest = std::max({widest, mixer, ffn});
  }
  // Residual stream, its normed form, a layer's change, and the rows that the head reads.
  const std::int64_t width = 4 * spec.hidden + widest;
  return 2 * static_cast<std::uint64_t>(tokens) * static_cast<std::uint64_t>(width * kFloatBytes);
}

}  // namespace krasis
