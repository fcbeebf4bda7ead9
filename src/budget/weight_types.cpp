#include "budget/weight_types.h"

#include <algorithm>

#include "base/error.h"
#include "budget/step_bytes.h"
#include "quant/expert_tiles.h"

namespace krasis {
namespace {

constexpr TileType kDenseTiles = {.bits = 8, .group = 128};
constexpr std::uint64_t kFloatBytes = 4;
constexpr double kMostBytes = 1e15;

std::uint64_t product(std::int64_t a, std::int64_t b) {
  return static_cast<std::uint64_t>(a) * static_cast<std::uint64_t>(b);
}

struct Sizes {
  const WeightTypes& types;
  std::int64_t hidden;

  std::uint64_t stored(std::int64_t rows, std::int64_t columns) const {
    return product(rows, columns) * static_cast<std::uint64_t>(types.stored_bytes);
  }
  std::uint64_t matrix(bool int8, std::int64_t rows, std::int64_t columns) const {
    if (!int8) return stored(rows, columns);
    const TileShape shape(kDenseTiles, rows, columns);
    return shape.tile_bytes() + shape.scale_bytes();
  }
  // A feed-forward network that every token passes through.
  std::uint64_t one_expert(bool int8, std::int64_t width, std::int64_t intermediate) const {
    if (!int8) return 3 * stored(intermediate, width);
    return ExpertLayout(kDenseTiles, width, intermediate).expert_bytes;
  }
};

std::uint64_t floats(std::int64_t count) {
  return static_cast<std::uint64_t>(count) * kFloatBytes;
}

std::uint64_t attention_bytes(const GroupedQueryAttention& mixer, const Sizes& sizes) {
  const bool int8 = sizes.types.attention_int8;
  const std::int64_t out = mixer.heads * mixer.head_dim;
  const std::int64_t query = out * (mixer.output_gate ? 2 : 1);
  const std::int64_t key = mixer.kv_heads * mixer.head_dim;
  return sizes.matrix(int8, query, sizes.hidden) + 2 * sizes.matrix(int8, key, sizes.hidden) +
         sizes.matrix(int8, sizes.hidden, out) + floats(mixer.bias ? query + 2 * key : 0) +
         floats(mixer.output_bias ? sizes.hidden : 0) +
         floats(mixer.qk_norm ? 2 * mixer.head_dim : 0);
}

std::uint64_t attention_bytes(const LatentAttention& mixer, const Sizes& sizes) {
  const bool int8 = sizes.types.attention_int8;
  const std::int64_t latent = mixer.kv_lora_rank, key = latent + mixer.rope_dim;
  const std::int64_t query = mixer.heads * (mixer.nope_dim + mixer.rope_dim);
  // Cut by heads: tiles only where a head's rows fill whole strips (model/latent_layer.cpp).
  const auto by_head = [&](std::int64_t rows, std::int64_t columns) {
    return sizes.matrix(int8 && rows % kStripRows == 0, mixer.heads * rows, columns);
  };
  std::uint64_t bytes = sizes.matrix(int8, key, sizes.hidden) + floats(latent) +
                        by_head(latent, mixer.nope_dim) + by_head(mixer.value_dim, latent) +
                        sizes.matrix(int8, sizes.hidden, mixer.heads * mixer.value_dim);
  if (mixer.q_lora_rank > 0) {
    bytes += sizes.matrix(int8, mixer.q_lora_rank, sizes.hidden) +
             sizes.matrix(int8, query, mixer.q_lora_rank) + floats(mixer.q_lora_rank);
  } else {
    bytes += sizes.matrix(int8, query, sizes.hidden);
  }
  return bytes + floats(mixer.bias ? key + mixer.q_lora_rank + sizes.hidden : 0);
}

std::uint64_t attention_bytes(const GatedDeltaNet& mixer, const Sizes& sizes) {
  const bool int8 = sizes.types.attention_int8;
  const std::int64_t keys = mixer.key_heads * mixer.key_dim;
  const std::int64_t values = mixer.value_heads * mixer.value_dim;
  const std::int64_t channels = 2 * keys + values;
  return sizes.matrix(int8, channels, sizes.hidden) + sizes.matrix(int8, values, sizes.hidden) +
         sizes.stored(2 * mixer.value_heads, sizes.hidden) +
         sizes.matrix(int8, sizes.hidden, values) +
         floats(channels * mixer.conv_width + 2 * mixer.value_heads + mixer.value_dim);
}

void add_ffn(const DenseFfn& ffn, const Sizes& sizes, DenseBytes& bytes) {
  const bool int8 = sizes.types.dense_mlp_int8;
  if (!ffn.bias) {
    bytes.dense_mlp += sizes.one_expert(int8, sizes.hidden, ffn.intermediate);
    return;
  }
  // Biases are one more column, in F32 (model/dense_ffn_layer.cpp).
  const std::int64_t width = widened(sizes.hidden), intermediate = widened(ffn.intermediate);
  bytes.dense_mlp += int8 ? sizes.one_expert(true, width, intermediate)
                          : 3 * kFloatBytes * product(width, intermediate);
  bytes.dense_mlp += floats(width - sizes.hidden);
}

void add_ffn(const SparseFfn& ffn, const Sizes& sizes, DenseBytes& bytes) {
  bytes.router += sizes.stored(ffn.routing.experts, sizes.hidden) +
                  floats(ffn.routing_bias ? ffn.routing.experts : 0);
  if (ffn.shared_intermediate == 0) return;
  bytes.shared_expert +=
      sizes.one_expert(sizes.types.shared_expert_int8, sizes.hidden, ffn.shared_intermediate) +
      (ffn.shared_gate ? sizes.stored(1, sizes.hidden) : 0);
}

// Before sums of integers, which could overflow.
void refuse_impossible(const ModelSpec& spec, const WeightTypes& types) {
  WeightBytes weights = bytes_per_weight(types);
  double experts = 0;
  for (const LayerSpec& layer : spec.layers) {
    const auto* ffn = std::get_if<SparseFfn>(&layer.ffn);
    if (ffn == nullptr) continue;
    experts += 3 * static_cast<double>(spec.hidden) * static_cast<double>(ffn->intermediate) *
               static_cast<double>(ffn->routing.experts) * weights.expert;
  }
  weights.expert = 0;
  const double all = experts + static_cast<double>(decode_weight_bytes(spec, weights));
  if (all < kMostBytes) return;
  throw Error(ErrorCode::Unsupported,
              "budget: the weights take " + std::to_string(static_cast<long long>(all / 1e12)) +
                  " TB, more than any machine holds; check the sizes in config.json");
}

}  // namespace

WeightBytes bytes_per_weight(const WeightTypes& types) {
  const auto stored = static_cast<double>(types.stored_bytes);
  const auto dense = [&](bool int8) { return int8 ? 1 + 2.0 / kDenseTiles.group : stored; };
  return {
      .attention = dense(types.attention_int8),
      .shared_expert = dense(types.shared_expert_int8),
      .dense_mlp = dense(types.dense_mlp_int8),
      .lm_head = dense(types.lm_head_int8),
      .expert = types.experts ? types.experts->bits / 8.0 + 2.0 / types.experts->group : stored};
}

DenseBytes dense_bytes(const ModelSpec& spec, const WeightTypes& types) {
  refuse_impossible(spec, types);
  const Sizes sizes = {types, spec.hidden};
  DenseBytes bytes;
  bytes.embedding = sizes.stored(spec.vocab, spec.hidden);
  // A tied head that is kept as stored is the embedding itself.
  if (!spec.tied_head || types.lm_head_int8)
    bytes.lm_head = sizes.matrix(types.lm_head_int8, spec.vocab, spec.hidden);
  bytes.norms = floats(spec.hidden);
  for (const LayerSpec& layer : spec.layers) {
    bytes.norms += 2 * floats(spec.hidden);
    bytes.attention +=
        std::visit([&](const auto& mixer) { return attention_bytes(mixer, sizes); }, layer.mixer);
    std::visit([&](const auto& ffn) { add_ffn(ffn, sizes, bytes); }, layer.ffn);
  }
  return bytes;
}

ExpertBytes expert_bytes(const ModelSpec& spec, const WeightTypes& types) {
  refuse_impossible(spec, types);
  const Sizes sizes = {types, spec.hidden};
  ExpertBytes bytes;
  for (const LayerSpec& layer : spec.layers) {
    const auto* ffn = std::get_if<SparseFfn>(&layer.ffn);
    if (ffn == nullptr) continue;
    const auto experts = static_cast<std::uint64_t>(ffn->routing.experts);
    std::uint64_t one = 3 * sizes.stored(ffn->intermediate, spec.hidden);
    if (types.experts) {
      const ExpertLayout layout(*types.experts, spec.hidden, ffn->intermediate);
      one = layout.expert_bytes;
      bytes.arena += layout.layer_bytes(ffn->routing.experts);
    }
    ++bytes.layers;
    bytes.count += ffn->routing.experts;
    bytes.expert = std::max(bytes.expert, one);
    bytes.layer = std::max(bytes.layer, experts * one);
    bytes.all += experts * one;
  }
  return bytes;
}

}  // namespace krasis
