#include "budget/token_bytes.h"

namespace krasis {
namespace {

constexpr double kRouterBytes = 2;  // BF16, whatever the rest is

// Weights of a mixer's projections.
double mixer_weights(const GroupedQueryAttention& mixer, double hidden) {
  const double queries = static_cast<double>(mixer.heads * mixer.head_dim);
  const double keys = static_cast<double>(mixer.kv_heads * mixer.head_dim);
  return hidden * (queries * (mixer.output_gate ? 3 : 2) + 2 * keys);
}

double mixer_weights(const LatentAttention& mixer, double hidden) {
  const auto heads = static_cast<double>(mixer.heads);
  const auto latent = static_cast<double>(mixer.kv_lora_rank);
  const auto lora = static_cast<double>(mixer.q_lora_rank);
  const double queries = heads * static_cast<double>(mixer.nope_dim + mixer.rope_dim);
  const double query = lora > 0 ? lora * (hidden + queries) : hidden * queries;
  const double up = heads * static_cast<double>(mixer.nope_dim + mixer.value_dim) * latent;
  return query + hidden * (latent + static_cast<double>(mixer.rope_dim)) + up +
         heads * static_cast<double>(mixer.value_dim) * hidden;
}

double mixer_weights(const GatedDeltaNet& mixer, double hidden) {
  const auto keys = static_cast<double>(mixer.key_heads * mixer.key_dim);
  const auto values = static_cast<double>(mixer.value_heads * mixer.value_dim);
  return hidden * (2 * keys + 3 * values + 2 * static_cast<double>(mixer.value_heads));
}

double ffn_bytes(const DenseFfn& ffn, double hidden, const WeightBytes& weights) {
  return 3 * hidden * static_cast<double>(ffn.intermediate) * weights.dense_mlp;
}

double ffn_bytes(const SparseFfn& ffn, double hidden, const WeightBytes& weights) {
  const double expert = 3 * hidden * static_cast<double>(ffn.intermediate);
  const double shared = 3 * hidden * static_cast<double>(ffn.shared_intermediate);
  return static_cast<double>(ffn.routing.top_k) * expert * weights.expert +
         shared * weights.shared_expert +
         hidden * static_cast<double>(ffn.routing.experts) * kRouterBytes;
}

}  // namespace

std::uint64_t decode_weight_bytes(const ModelSpec& spec, const WeightBytes& weights) {
  const auto hidden = static_cast<double>(spec.hidden);
  double bytes = hidden * static_cast<double>(spec.vocab) * weights.lm_head;
  for (const LayerSpec& layer : spec.layers) {
    bytes +=
        weights.attention *
        std::visit([&](const auto& mixer) { return mixer_weights(mixer, hidden); }, layer.mixer);
    bytes +=
        std::visit([&](const auto& ffn) { return ffn_bytes(ffn, hidden, weights); }, layer.ffn);
  }
  return static_cast<std::uint64_t>(bytes);
}

}  // namespace krasis
