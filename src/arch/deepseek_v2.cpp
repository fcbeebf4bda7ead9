// DeepSeek-V2, V2-Lite, Coder-V2: latent attention; softmax routing (greedy, or within the best
// groups by their best expert) whose weights are scaled but not normalised; shared experts.
// Source: DeepSeek-V2, https://arxiv.org/abs/2405.04434, and the models' config.json.
#include "arch/attention_config.h"
#include "arch/experts_config.h"
#include "arch/known.h"
#include "arch/model_config.h"
#include "arch/tensor_names.h"

namespace krasis {
namespace {

SparseFfn read_routing(const ConfigReader& config) {
  SparseFfn ffn = read_experts(config);
  if (config.text("scoring_func", "softmax") != "softmax")
    throw config.unsupported("scoring_func", "this architecture routes by softmax");
  // The models' own code normalises and then leaves routed_scaling_factor out, transformers never
  // normalises; no published model asks for it.
  if (config.flag("norm_topk_prob", false))
    throw config.unsupported("norm_topk_prob", "this architecture's weights are not normalised");
  ffn.routing.normalize = false;
  ffn.routing.scale = static_cast<float>(config.number("routed_scaling_factor", {1e-6, 1e6}, 1));
  const std::string method = config.text("topk_method", "greedy");
  if (method == "group_limited_greedy") {
    read_groups(config, GroupScore::Max, ffn.routing);
  } else if (method != "greedy") {
    throw config.unsupported("topk_method", "only greedy and group_limited_greedy are known");
  }
  read_shared_experts(config, 2, ffn);
  return ffn;
}

ModelSpec parse(const nlohmann::json& json) {
  const ConfigReader config(json, "config.json");
  ModelSpec spec = read_model(config, 1e-6);
  refuse_sliding_window(config, spec);
  const LatentAttention attention = read_latent_attention(config, spec);
  const std::int64_t layers = read_layer_count(config);
  for (std::int64_t layer = 0; layer < layers; ++layer) {
    if (routes_after_first(config, layer, 0)) {
      spec.layers.push_back({attention, read_routing(config)});
    } else {
      spec.layers.push_back({attention, read_dense_ffn(config)});
    }
  }
  validate(spec);
  return spec;
}

constexpr std::array<std::string_view, 1> kTypes = {"deepseek_v2"};
constexpr auto kTensors =
    join(kModelNames, kLatentNames, kDenseNames, kExpertNames, kSharedExpertsNames);

}  // namespace

const Architecture kDeepseekV2 = {kTypes, parse, kTensors};

}  // namespace krasis
