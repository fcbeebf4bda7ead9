// Qwen3-MoE (Qwen3-30B-A3B, Qwen3-235B-A22B, Qwen3-Coder): grouped-query attention with a norm on
// each head's query and key, softmax routing, no shared expert.
// Source: Qwen3 technical report, https://arxiv.org/abs/2505.09388, and the models' config.json.
#include "arch/attention_config.h"
#include "arch/experts_config.h"
#include "arch/known.h"
#include "arch/model_config.h"
#include "arch/tensor_names.h"

namespace krasis {
namespace {

ModelSpec parse(const nlohmann::json& json) {
  const ConfigReader config(json, "config.json");
  ModelSpec spec = read_model(config, 1e-6);
  refuse_sliding_window(config, spec);
  const auto attention = read_grouped_query_attention(config, spec, {.qk_norm = true});
  const std::int64_t layers = read_layer_count(config);
  for (std::int64_t layer = 0; layer < layers; ++layer) {
    if (!routes_by_step(config, layer)) {
      spec.layers.push_back({attention, read_dense_ffn(config)});
      continue;
    }
    SparseFfn experts = read_experts(config);
    experts.routing.normalize = config.flag("norm_topk_prob", false);
    spec.layers.push_back({attention, experts});
  }
  validate(spec);
  return spec;
}

constexpr std::array<std::string_view, 1> kTypes = {"qwen3_moe"};
constexpr auto kTensors = join(kModelNames, kGroupedQueryNames, kDenseNames, kExpertNames);

}  // namespace

const Architecture kQwen3Moe = {kTypes, parse, kTensors};

}  // namespace krasis
