// Qwen3-Next (Qwen3-Coder-Next, Qwen3-Next-80B-A3B): gated delta net and, every fourth layer, gated
// grouped-query attention with a partial rotary; softmax routing with a gated shared expert; norms
// stored zero-centred. The multi-token prediction tensors (mtp.*) are left out.
// Source: Gated Delta Networks, https://arxiv.org/abs/2412.06464; the models' config.json.
#include <fmt/format.h>

#include "arch/attention_config.h"
#include "arch/experts_config.h"
#include "arch/known.h"
#include "arch/model_config.h"
#include "arch/tensor_names.h"

namespace krasis {
namespace {

GatedDeltaNet read_delta_net(const ConfigReader& config) {
  const GatedDeltaNet net = {
      .key_heads = config.integer("linear_num_key_heads", {1, kMaxHeads}),
      .value_heads = config.integer("linear_num_value_heads", {1, kMaxHeads}),
      .key_dim = config.integer("linear_key_head_dim", {1, kMaxHeads}),
      .value_dim = config.integer("linear_value_head_dim", {1, kMaxHeads}),
      .conv_width = config.integer("linear_conv_kernel_dim", {2, 64}),
  };
  if (net.value_heads % net.key_heads != 0) {
    throw config.corrupt("linear_num_value_heads",
                         fmt::format("must be a multiple of the {} key heads", net.key_heads));
  }
  return net;
}

// One flag a layer: attention, as opposed to a delta net.
std::vector<bool> read_attention_layers(const ConfigReader& config, std::int64_t layers) {
  std::vector<bool> attention;
  for (const std::string& type : read_layer_types(config)) {
    if (type != "full_attention" && type != "linear_attention") {
      throw Error(ErrorCode::Unsupported,
                  fmt::format("{}: \"layer_types\" holds \"{}\", but this architecture only has "
                              "full_attention and linear_attention",
                              config.where(), type));
    }
    attention.push_back(type == "full_attention");
  }
  if (!attention.empty()) return attention;
  const std::int64_t interval = config.integer("full_attention_interval", {1, kMaxLayers}, 4);
  for (std::int64_t layer = 0; layer < layers; ++layer)
    attention.push_back((layer + 1) % interval == 0);
  return attention;
}

SparseFfn read_gated_experts(const ConfigReader& config) {
  SparseFfn ffn = read_experts(config);
  ffn.routing.normalize = config.flag("norm_topk_prob", true);
  ffn.shared_intermediate = config.integer("shared_expert_intermediate_size", {0, kMaxWidth}, 512);
  ffn.shared_gate = ffn.shared_intermediate > 0;
  return ffn;
}

ModelSpec parse(const nlohmann::json& json) {
  const ConfigReader config(json, "config.json");
  ModelSpec spec = read_model(config, 1e-6);
  spec.zero_centred_norms = true;
  GroupedQueryAttention attention = read_grouped_query_attention(
      config, spec, {.head_dim = 256, .partial_rotary = 0.25, .qk_norm = true});
  attention.output_gate = true;
  const GatedDeltaNet delta_net = read_delta_net(config);
  const std::int64_t layers = read_layer_count(config);
  const std::vector<bool> attends = read_attention_layers(config, layers);
  for (std::int64_t layer = 0; layer < layers; ++layer) {
    LayerSpec next;
    if (attends[static_cast<std::size_t>(layer)]) {
      next.mixer = attention;
    } else {
      next.mixer = delta_net;
    }
    if (routes_by_step(config, layer)) {
      next.ffn = read_gated_experts(config);
    } else {
      next.ffn = read_dense_ffn(config);
    }
    spec.layers.push_back(next);
  }
  validate(spec);
  return spec;
}

constexpr std::array<std::string_view, 1> kTypes = {"qwen3_next"};

// clang-format off
constexpr std::array kOwnNames = {
    TensorRule{Role::DeltaQkvz,        "model.layers.{L}.linear_attn.in_proj_qkvz.weight"},
    TensorRule{Role::DeltaBa,          "model.layers.{L}.linear_attn.in_proj_ba.weight"},
    TensorRule{Role::DeltaConv,        "model.layers.{L}.linear_attn.conv1d.weight"},
    TensorRule{Role::DeltaALog,        "model.layers.{L}.linear_attn.A_log"},
    TensorRule{Role::DeltaDtBias,      "model.layers.{L}.linear_attn.dt_bias"},
    TensorRule{Role::DeltaNorm,        "model.layers.{L}.linear_attn.norm.weight"},
    TensorRule{Role::DeltaOutput,      "model.layers.{L}.linear_attn.out_proj.weight"},
    TensorRule{Role::SharedGate,       "model.layers.{L}.mlp.shared_expert.gate_proj.weight"},
    TensorRule{Role::SharedUp,         "model.layers.{L}.mlp.shared_expert.up_proj.weight"},
    TensorRule{Role::SharedDown,       "model.layers.{L}.mlp.shared_expert.down_proj.weight"},
    TensorRule{Role::SharedExpertGate, "model.layers.{L}.mlp.shared_expert_gate.weight"},
};
// clang-format on
constexpr auto kTensors =
    join(kModelNames, kGroupedQueryNames, kDenseNames, kExpertNames, kOwnNames);

}  // namespace

const Architecture kQwen3Next = {kTypes, parse, kTensors};

}  // namespace krasis
