// GLM-4.5, GLM-4.6, GLM-4.7: grouped-query attention with biases (none on the output), optional
// query and key norms and a partial rotary; sigmoid routing with shared experts after some dense
// layers. The multi-token prediction layers behind num_hidden_layers are left out.
// Source: GLM-4.5 report, https://arxiv.org/abs/2508.06471, and the models' config.json.
#include "arch/attention_config.h"
#include "arch/experts_config.h"
#include "arch/known.h"
#include "arch/model_config.h"
#include "arch/tensor_names.h"

namespace krasis {
namespace {

ModelSpec parse(const nlohmann::json& json) {
  const ConfigReader config(json, "config.json");
  ModelSpec spec = read_model(config, 1e-5);
  refuse_sliding_window(config, spec);
  const auto attention = read_grouped_query_attention(
      config, spec,
      {.partial_rotary = 0.5, .qk_norm = config.flag("use_qk_norm", false), .output_bias = false});
  const std::int64_t layers = read_layer_count(config);
  for (std::int64_t layer = 0; layer < layers; ++layer) {
    if (routes_after_first(config, layer, 1)) {
      spec.layers.push_back({attention, read_sigmoid_experts(config, 1)});
    } else {
      spec.layers.push_back({attention, read_dense_ffn(config)});
    }
  }
  validate(spec);
  return spec;
}

constexpr std::array<std::string_view, 1> kTypes = {"glm4_moe"};
constexpr auto kTensors = join(kModelNames, kGroupedQueryNames, kDenseNames, kExpertNames,
                               kRouterBiasNames, kSharedExpertsNames);

}  // namespace

const Architecture kGlm4Moe = {kTypes, parse, kTensors};

}  // namespace krasis
