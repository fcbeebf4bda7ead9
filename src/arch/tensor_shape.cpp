#include "arch/tensor_shape.h"

#include <initializer_list>

namespace krasis {
namespace {

using MaybeShape = std::optional<Shape>;

MaybeShape shape_if(bool present, std::initializer_list<std::int64_t> dims) {
  return present ? MaybeShape(Shape(dims)) : std::nullopt;
}

MaybeShape shape_in(const GroupedQueryAttention& mixer, Role role, std::int64_t hidden) {
  const std::int64_t query = mixer.heads * mixer.head_dim * (mixer.output_gate ? 2 : 1);
  const std::int64_t key = mixer.kv_heads * mixer.head_dim;
  switch (role) {
    case Role::Query:
      return Shape{query, hidden};
    case Role::QueryBias:
      return shape_if(mixer.bias, {query});
    case Role::Key:
    case Role::Value:
      return Shape{key, hidden};
    case Role::KeyBias:
    case Role::ValueBias:
      return shape_if(mixer.bias, {key});
    case Role::Output:
      return Shape{hidden, mixer.heads * mixer.head_dim};
    case Role::OutputBias:
      return shape_if(mixer.output_bias, {hidden});
    case Role::QueryNorm:
    case Role::KeyNorm:
      return shape_if(mixer.qk_norm, {mixer.head_dim});
    default:
      return std::nullopt;
  }
}

MaybeShape shape_in(const LatentAttention& mixer, Role role, std::int64_t hidden) {
  const std::int64_t query = mixer.heads * (mixer.nope_dim + mixer.rope_dim);
  const bool low_rank = mixer.q_lora_rank > 0;
  switch (role) {
    case Role::Query:
      return shape_if(!low_rank, {query, hidden});
    case Role::QueryDown:
      return shape_if(low_rank, {mixer.q_lora_rank, hidden});
    case Role::QueryDownBias:
      return shape_if(low_rank && mixer.bias, {mixer.q_lora_rank});
    case Role::QueryDownNorm:
      return shape_if(low_rank, {mixer.q_lora_rank});
    case Role::QueryUp:
      return shape_if(low_rank, {query, mixer.q_lora_rank});
    case Role::KvDown:
      return Shape{mixer.kv_lora_rank + mixer.rope_dim, hidden};
    case Role::KvDownBias:
      return shape_if(mixer.bias, {mixer.kv_lora_rank + mixer.rope_dim});
    case Role::KvDownNorm:
      return Shape{mixer.kv_lora_rank};
    case Role::KvUp:
      return Shape{mixer.heads * (mixer.nope_dim + mixer.value_dim), mixer.kv_lora_rank};
    case Role::Output:
      return Shape{hidden, mixer.heads * mixer.value_dim};
    case Role::OutputBias:
      return shape_if(mixer.bias, {hidden});
    default:
      return std::nullopt;
  }
}

MaybeShape shape_in(const GatedDeltaNet& mixer, Role role, std::int64_t hidden) {
  const std::int64_t keys = mixer.key_heads * mixer.key_dim;
  const std::int64_t values = mixer.value_heads * mixer.value_dim;
  switch (role) {
    case Role::DeltaQkvz:
      return Shape{2 * keys + 2 * values, hidden};
    case Role::DeltaBa:
      return Shape{2 * mixer.value_heads, hidden};
    case Role::DeltaConv:
      return Shape{2 * keys + values, 1, mixer.conv_width};
    case Role::DeltaALog:
    case Role::DeltaDtBias:
      return Shape{mixer.value_heads};
    case Role::DeltaNorm:
      return Shape{mixer.value_dim};
    case Role::DeltaOutput:
      return Shape{hidden, values};
    default:
      return std::nullopt;
  }
}

MaybeShape shape_in(const DenseFfn& ffn, Role role, std::int64_t hidden) {
  switch (role) {
    case Role::Gate:
    case Role::Up:
      return Shape{ffn.intermediate, hidden};
    case Role::GateBias:
    case Role::UpBias:
      return shape_if(ffn.bias, {ffn.intermediate});
    case Role::Down:
      return Shape{hidden, ffn.intermediate};
    case Role::DownBias:
      return shape_if(ffn.bias, {hidden});
    default:
      return std::nullopt;
  }
}

MaybeShape shape_in(const SparseFfn& ffn, Role role, std::int64_t hidden) {
  const bool shared = ffn.shared_intermediate > 0;
  switch (role) {
    case Role::Router:
      return Shape{ffn.routing.experts, hidden};
    case Role::RouterBias:
      return shape_if(ffn.routing_bias, {ffn.routing.experts});
    case Role::ExpertGate:
    case Role::ExpertUp:
      return Shape{ffn.intermediate, hidden};
    case Role::ExpertDown:
      return Shape{hidden, ffn.intermediate};
    case Role::SharedGate:
    case Role::SharedUp:
      return shape_if(shared, {ffn.shared_intermediate, hidden});
    case Role::SharedDown:
      return shape_if(shared, {hidden, ffn.shared_intermediate});
    case Role::SharedExpertGate:
      return shape_if(shared && ffn.shared_gate, {1, hidden});
    default:
      return std::nullopt;
  }
}

}  // namespace

std::optional<Shape> tensor_shape(const ModelSpec& spec, Role role, std::int64_t layer) {
  switch (role) {
    case Role::Embedding:
      return Shape{spec.vocab, spec.hidden};
    case Role::Head:
      return shape_if(!spec.tied_head, {spec.vocab, spec.hidden});
    case Role::FinalNorm:
    case Role::MixerNorm:
    case Role::FfnNorm:
      return Shape{spec.hidden};
    default:
      break;
  }
  const LayerSpec& parts = spec.layers.at(static_cast<std::size_t>(layer));
  const auto of = [&](const auto& part) { return shape_in(part, role, spec.hidden); };
  const MaybeShape in_mixer = std::visit(of, parts.mixer);
  return in_mixer ? in_mixer : std::visit(of, parts.ffn);
}

}  // namespace krasis
