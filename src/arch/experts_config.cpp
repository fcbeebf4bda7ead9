#include "arch/experts_config.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>

namespace krasis {
namespace {

const char* experts_key(const ConfigReader& config) {
  constexpr std::array kKeys = {"n_routed_experts", "num_experts", "num_local_experts"};
  for (const char* key : kKeys)
    if (config.has(key)) return key;
  return kKeys[0];
}

}  // namespace

DenseFfn read_dense_ffn(const ConfigReader& config, FfnBias bias) {
  const DenseFfn ffn = {.intermediate = config.integer("intermediate_size", {1, kMaxWidth}),
                        .bias = config.flag("mlp_bias", false)};
  if (ffn.bias && bias == FfnBias::Unknown)
    throw config.unsupported("mlp_bias", "this architecture has no biases there");
  return ffn;
}

SparseFfn read_experts(const ConfigReader& config) {
  SparseFfn ffn;
  const char* key = experts_key(config);
  ffn.routing.experts = config.integer(key, {1, kMaxExperts});
  ffn.routing.top_k = config.integer("num_experts_per_tok", {1, kMaxExperts});
  if (ffn.routing.top_k > ffn.routing.experts) {
    throw config.corrupt("num_experts_per_tok",
                         fmt::format("there are {} experts", ffn.routing.experts));
  }
  ffn.intermediate = config.integer("moe_intermediate_size", {1, kMaxWidth});
  if (config.flag("mlp_bias", false))
    throw config.unsupported("mlp_bias", "experts have no biases");
  return ffn;
}

void read_shared_experts(const ConfigReader& config, std::int64_t missing, SparseFfn& ffn) {
  const std::int64_t shared = config.integer("n_shared_experts", {0, kMaxHeads}, missing);
  ffn.shared_intermediate = shared * ffn.intermediate;
}

void read_groups(const ConfigReader& config, GroupScore score, Routing& routing) {
  routing.group_score = score;
  routing.groups = config.integer("n_group", {1, kMaxExperts}, 1);
  routing.top_groups = config.integer("topk_group", {1, kMaxExperts}, 1);
  if (routing.experts % routing.groups != 0) {
    throw config.corrupt("n_group", fmt::format("must divide the {} experts", routing.experts));
  }
  const std::int64_t size = routing.experts / routing.groups;
  if (score == GroupScore::TopTwoSum && routing.groups > 1 && size < 2)
    throw config.corrupt("n_group", "groups are judged by their two best experts and need two");
  if (routing.top_groups > routing.groups)
    throw config.corrupt("topk_group", fmt::format("there are {} groups", routing.groups));
  if (routing.top_groups * size < routing.top_k) {
    throw config.corrupt("topk_group", fmt::format("{} groups of {} experts do not hold the {} "
                                                   "experts a token takes",
                                                   routing.top_groups, size, routing.top_k));
  }
}

SparseFfn read_sigmoid_experts(const ConfigReader& config, double default_scale) {
  SparseFfn ffn = read_experts(config);
  if (config.text("scoring_func", "sigmoid") != "sigmoid")
    throw config.unsupported("scoring_func", "this architecture routes by sigmoid");
  if (config.text("topk_method", "noaux_tc") != "noaux_tc")
    throw config.unsupported("topk_method", "this architecture routes by noaux_tc");
  ffn.routing.scoring = Scoring::Sigmoid;
  ffn.routing_bias = true;
  ffn.routing.normalize = config.flag("norm_topk_prob", true);
  ffn.routing.scale =
      static_cast<float>(config.number("routed_scaling_factor", {1e-6, 1e6}, default_scale));
  read_groups(config, GroupScore::TopTwoSum, ffn.routing);
  read_shared_experts(config, 1, ffn);
  return ffn;
}

bool routes_by_step(const ConfigReader& config, std::int64_t layer) {
  if (const nlohmann::json* dense = config.find("mlp_only_layers")) {
    if (!dense->is_array()) throw config.corrupt("mlp_only_layers", "must be a list of layers");
    for (const nlohmann::json& number : *dense) {
      if (!number.is_number_integer())
        throw config.corrupt("mlp_only_layers", "must be a list of layers");
      if (number == layer) return false;
    }
  }
  return (layer + 1) % config.integer("decoder_sparse_step", {1, kMaxLayers}, 1) == 0;
}

bool routes_after_first(const ConfigReader& config, std::int64_t layer,
                        std::int64_t default_first) {
  constexpr const char* kStep = "moe_layer_freq";
  const nlohmann::json* step = config.find(kStep);
  if (step != nullptr && step->is_array()) {
    const auto index = static_cast<std::size_t>(layer);
    if (index >= step->size() || !(step->at(index) == 0 || step->at(index) == 1))
      throw config.corrupt(kStep, "must hold a 0 or a 1 for each layer");
    return step->at(index) == 1;
  }
  const std::int64_t first =
      config.integer("first_k_dense_replace", {0, kMaxLayers}, default_first);
  return layer >= first && layer % config.integer(kStep, {1, kMaxLayers}, 1) == 0;
}

}  // namespace krasis
