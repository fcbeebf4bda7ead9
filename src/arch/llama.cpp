// Llama, dense: grouped-query attention.
// Source: Llama 3 report, https://arxiv.org/abs/2407.21783, and the models' config.json.
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
  const auto attention = read_grouped_query_attention(config, spec, {});
  spec.layers.assign(static_cast<std::size_t>(read_layer_count(config)),
                     {attention, read_dense_ffn(config, FfnBias::Known)});
  validate(spec);
  return spec;
}

constexpr std::array<std::string_view, 1> kTypes = {"llama"};
constexpr auto kTensors = join(kModelNames, kGroupedQueryNames, kDenseNames, kDenseBiasNames);

}  // namespace

const Architecture kLlama = {kTypes, parse, kTensors};

}  // namespace krasis
