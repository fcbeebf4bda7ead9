#include "budget/step_bytes.h"

#include <algorithm>
#include <vector>

#include "quant/tiles.h"

namespace krasis {
namespace {

constexpr std::int64_t kAlignment = 256;  // model/workspace.cpp

// Sums of pieces of `rows` rows and some columns of 4 bytes, each aligned.
class Pieces {
 public:
  explicit Pieces(std::int64_t rows) : rows_(rows) {}
  Pieces& add(std::int64_t columns) {
    bytes_ += static_cast<std::uint64_t>((rows_ * columns * 4 + kAlignment - 1) / kAlignment *
                                         kAlignment);
    return *this;
  }
  std::uint64_t bytes() const { return bytes_; }

 private:
  std::int64_t rows_;
  std::uint64_t bytes_ = 0;
};

// What src/model/*_layer.cpp keep at the same time.
std::uint64_t mixer_bytes(const GroupedQueryAttention& mixer, std::int64_t tokens) {
  const std::int64_t query = mixer.heads * mixer.head_dim;
  const std::int64_t key = mixer.kv_heads * mixer.head_dim;
  return Pieces(tokens)
      .add(key)
      .add(key)
      .add(mixer.output_gate ? 2 * query : query)
      .add(query)
      .add(mixer.output_gate ? query : 0)
      .bytes();
}

std::uint64_t mixer_bytes(const LatentAttention& mixer, std::int64_t tokens) {
  const std::int64_t key = mixer.kv_lora_rank + mixer.rope_dim;
  return Pieces(tokens)
      .add(key)
      .add(mixer.heads * (mixer.nope_dim + mixer.rope_dim))
      .add(mixer.q_lora_rank)
      .add(mixer.heads * key)
      .add(mixer.heads * mixer.kv_lora_rank)
      .add(mixer.heads * mixer.value_dim)
      .bytes();
}

std::uint64_t mixer_bytes(const GatedDeltaNet& mixer, std::int64_t tokens) {
  const std::int64_t values = mixer.value_heads * mixer.value_dim;
  const std::int64_t channels = 2 * mixer.key_heads * mixer.key_dim + values;
  return Pieces(tokens)
      .add(2 * mixer.value_heads)
      .add(values)
      .add(channels)
      .add(channels)
      .add(values)
      .bytes();
}

std::uint64_t ffn_bytes(const DenseFfn& ffn, std::int64_t hidden, std::int64_t tokens) {
  Pieces pieces = Pieces(tokens).add(hidden);
  if (ffn.bias) pieces.add(widened(hidden)).add(widened(hidden));
  return pieces.bytes();
}

std::uint64_t ffn_bytes(const SparseFfn& ffn, std::int64_t hidden, std::int64_t tokens) {
  Pieces pieces = Pieces(tokens).add(hidden);
  if (ffn.shared_intermediate > 0 && ffn.shared_gate) pieces.add(1).add(1);
  return pieces.add(ffn.routing.experts).add(ffn.routing.top_k).add(ffn.routing.top_k).bytes();
}

// One table for all layers that rotate alike (model/rotary_tables.cpp).
std::uint64_t rotary_bytes(const ModelSpec& spec, std::int64_t tokens) {
  std::vector<const RotarySpec*> tables;
  Pieces pieces(tokens);
  for (const LayerSpec& layer : spec.layers) {
    const RotarySpec* rotary = nullptr;
    if (const auto* grouped = std::get_if<GroupedQueryAttention>(&layer.mixer))
      rotary = &grouped->rotary;
    if (const auto* latent = std::get_if<LatentAttention>(&layer.mixer)) rotary = &latent->rotary;
    if (rotary == nullptr) continue;
    const bool known = std::ranges::any_of(tables, [&](const RotarySpec* table) {
      return table->frequencies == rotary->frequencies && table->scale == rotary->scale;
    });
    if (known) continue;
    tables.push_back(rotary);
    pieces.add(rotary->dim() / 2).add(rotary->dim() / 2);
  }
  return pieces.bytes();
}

std::uint64_t widest_layer(const ModelSpec& spec, std::int64_t tokens) {
  std::uint64_t widest = 0;
  for (const LayerSpec& layer : spec.layers) {
    const std::uint64_t mixer =
        std::visit([&](const auto& part) { return mixer_bytes(part, tokens); }, layer.mixer);
    const std::uint64_t ffn = std::visit(
        [&](const auto& part) { return ffn_bytes(part, spec.hidden, tokens); }, layer.ffn);
    widest = std::max({widest, mixer, ffn});
  }
  return widest;
}

}  // namespace

std::int64_t widened(std::int64_t size) {
  return (size + kColumnPadding - 1) / kColumnPadding * kColumnPadding + 1;
}

std::uint64_t workspace_bytes(const ModelSpec& spec, const StepSize& size) {
  const std::int64_t part = std::min(size.tokens, size.part_tokens);
  // Ids, positions and the residual stream of all tokens; logits of those that are wanted.
  const std::uint64_t step = Pieces(size.tokens).add(1).add(1).add(spec.hidden).bytes() +
                             Pieces(size.logit_rows).add(spec.vocab).bytes();
  const std::uint64_t layer =
      Pieces(part).add(spec.hidden).add(spec.hidden).bytes() + widest_layer(spec, part);
  const std::uint64_t head = Pieces(size.logit_rows).add(spec.hidden).bytes();
  const std::uint64_t constants = static_cast<std::uint64_t>(size.part_tokens) * 8;
  return step + rotary_bytes(spec, part) + std::max(layer, head) + constants;
}

}  // namespace krasis
