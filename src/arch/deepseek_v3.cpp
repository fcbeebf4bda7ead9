// DeepSeek-V3, R1 and Kimi K2: latent attention with a low-rank query, sigmoid routing within
// groups with a bias that only chooses, shared experts, some dense layers first. The multi-token
// prediction layers behind num_hidden_layers are left out.
// Source: DeepSeek-V3, https://arxiv.org/abs/2412.19437; Kimi K2, https://arxiv.org/abs/2507.20534;
// the models' config.json.
#include "arch/attention_config.h"
#include "arch/experts_config.h"
#include "arch/known.h"
#include "arch/model_config.h"
#include "arch/tensor_names.h"

namespace krasis {
namespace {

ModelSpec parse(const nlohmann::json& json) {
  return parse_deepseek_v3(json, "config.json");
}

constexpr std::array<std::string_view, 2> kTypes = {"deepseek_v3", "kimi_k2"};
constexpr auto kTensors = join(kModelNames, kLatentNames, kDenseNames, kExpertNames,
                               kRouterBiasNames, kSharedExpertsNames);

}  // namespace

ModelSpec parse_deepseek_v3(const nlohmann::json& json, const std::string& where) {
  const ConfigReader config(json, where);
  ModelSpec spec = read_model(config, 1e-6);
  refuse_sliding_window(config, spec);
  const LatentAttention attention = read_latent_attention(config, spec);
  const std::int64_t layers = read_layer_count(config);
  for (std::int64_t layer = 0; layer < layers; ++layer) {
    if (routes_after_first(config, layer, 3)) {
      spec.layers.push_back({attention, read_sigmoid_experts(config, 2.5)});
    } else {
      spec.layers.push_back({attention, read_dense_ffn(config)});
    }
  }
  validate(spec);
  return spec;
}

const Architecture kDeepseekV3 = {kTypes, parse, kTensors};

}  // namespace krasis
