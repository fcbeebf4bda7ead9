// Tensor names that several architectures share, as parts of their tables.
#pragma once

#include <array>

#include "arch/architecture.h"

namespace krasis {

template <std::size_t... sizes>
constexpr auto join(const std::array<TensorRule, sizes>&... parts) {
  std::array<TensorRule, (sizes + ...)> whole{};
  std::size_t next = 0;
  const auto append = [&](const auto& part) {
    for (const TensorRule& rule : part) whole[next++] = rule;
  };
  (append(parts), ...);
  return whole;
}

// clang-format off
inline constexpr std::array kModelNames = {
    TensorRule{Role::Embedding, "model.embed_tokens.weight"},
    TensorRule{Role::FinalNorm, "model.norm.weight"},
    TensorRule{Role::Head,      "lm_head.weight"},
    TensorRule{Role::MixerNorm, "model.layers.{L}.input_layernorm.weight"},
    TensorRule{Role::FfnNorm,   "model.layers.{L}.post_attention_layernorm.weight"},
};

inline constexpr std::array kGroupedQueryNames = {
    TensorRule{Role::Query,      "model.layers.{L}.self_attn.q_proj.weight"},
    TensorRule{Role::QueryBias,  "model.layers.{L}.self_attn.q_proj.bias"},
    TensorRule{Role::Key,        "model.layers.{L}.self_attn.k_proj.weight"},
    TensorRule{Role::KeyBias,    "model.layers.{L}.self_attn.k_proj.bias"},
    TensorRule{Role::Value,      "model.layers.{L}.self_attn.v_proj.weight"},
    TensorRule{Role::ValueBias,  "model.layers.{L}.self_attn.v_proj.bias"},
    TensorRule{Role::Output,     "model.layers.{L}.self_attn.o_proj.weight"},
    TensorRule{Role::OutputBias, "model.layers.{L}.self_attn.o_proj.bias"},
    TensorRule{Role::QueryNorm,  "model.layers.{L}.self_attn.q_norm.weight"},
    TensorRule{Role::KeyNorm,    "model.layers.{L}.self_attn.k_norm.weight"},
};

inline constexpr std::array kLatentNames = {
    TensorRule{Role::Query,         "model.layers.{L}.self_attn.q_proj.weight"},
    TensorRule{Role::QueryDown,     "model.layers.{L}.self_attn.q_a_proj.weight"},
    TensorRule{Role::QueryDownBias, "model.layers.{L}.self_attn.q_a_proj.bias"},
    TensorRule{Role::QueryDownNorm, "model.layers.{L}.self_attn.q_a_layernorm.weight"},
    TensorRule{Role::QueryUp,       "model.layers.{L}.self_attn.q_b_proj.weight"},
    TensorRule{Role::KvDown,        "model.layers.{L}.self_attn.kv_a_proj_with_mqa.weight"},
    TensorRule{Role::KvDownBias,    "model.layers.{L}.self_attn.kv_a_proj_with_mqa.bias"},
    TensorRule{Role::KvDownNorm,    "model.layers.{L}.self_attn.kv_a_layernorm.weight"},
    TensorRule{Role::KvUp,          "model.layers.{L}.self_attn.kv_b_proj.weight"},
    TensorRule{Role::Output,        "model.layers.{L}.self_attn.o_proj.weight"},
    TensorRule{Role::OutputBias,    "model.layers.{L}.self_attn.o_proj.bias"},
};

inline constexpr std::array kDenseNames = {
    TensorRule{Role::Gate, "model.layers.{L}.mlp.gate_proj.weight"},
    TensorRule{Role::Up,   "model.layers.{L}.mlp.up_proj.weight"},
    TensorRule{Role::Down, "model.layers.{L}.mlp.down_proj.weight"},
};

inline constexpr std::array kDenseBiasNames = {
    TensorRule{Role::GateBias, "model.layers.{L}.mlp.gate_proj.bias"},
    TensorRule{Role::UpBias,   "model.layers.{L}.mlp.up_proj.bias"},
    TensorRule{Role::DownBias, "model.layers.{L}.mlp.down_proj.bias"},
};

inline constexpr std::array kExpertNames = {
    TensorRule{Role::Router,     "model.layers.{L}.mlp.gate.weight"},
    TensorRule{Role::ExpertGate, "model.layers.{L}.mlp.experts.{E}.gate_proj.weight"},
    TensorRule{Role::ExpertUp,   "model.layers.{L}.mlp.experts.{E}.up_proj.weight"},
    TensorRule{Role::ExpertDown, "model.layers.{L}.mlp.experts.{E}.down_proj.weight"},
};

inline constexpr std::array kRouterBiasNames = {
    TensorRule{Role::RouterBias, "model.layers.{L}.mlp.gate.e_score_correction_bias"},
};

inline constexpr std::array kSharedExpertsNames = {
    TensorRule{Role::SharedGate, "model.layers.{L}.mlp.shared_experts.gate_proj.weight"},
    TensorRule{Role::SharedUp,   "model.layers.{L}.mlp.shared_experts.up_proj.weight"},
    TensorRule{Role::SharedDown, "model.layers.{L}.mlp.shared_experts.down_proj.weight"},
};
// clang-format on

}  // namespace krasis
