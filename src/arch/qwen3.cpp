// Qwen3, dense: grouped-query attention with a norm on each head's query and key.
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
  refuse_sliding_window(config, spec, WindowLayers::FromMaxWindowLayers);
  // A file without head_dim means 128, whatever the hidden size: it is the default of the models'
  // own configuration class.
  const auto attention =
      read_grouped_query_attention(config, spec, {.head_dim = 128, .qk_norm = true});
  spec.layers.assign(static_cast<std::size_t>(read_layer_count(config)),
                     {attention, read_dense_ffn(config)});
  validate(spec);
  return spec;
}

constexpr std::array<std::string_view, 1> kTypes = {"qwen3"};
constexpr auto kTensors = join(kModelNames, kGroupedQueryNames, kDenseNames);

}  // namespace

const Architecture kQwen3 = {kTypes, parse, kTensors};

}  // namespace krasis
