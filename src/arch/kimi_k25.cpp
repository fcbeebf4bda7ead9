// Kimi K2.5: the language model of Kimi K2 inside a multimodal wrapper, with its routed experts
// packed to INT4 by compressed-tensors. Images are not read.
// Source: Kimi K2.5, https://arxiv.org/abs/2602.02276, and the model's config.json.
#include "arch/known.h"
#include "arch/model_config.h"
#include "arch/tensor_names.h"

namespace krasis {
namespace {

ModelSpec parse(const nlohmann::json& json) {
  const ConfigReader wrapper(json, "config.json");
  const std::optional<ConfigReader> text = wrapper.section("text_config");
  if (!text) throw wrapper.corrupt("text_config", "must be an object");
  const std::string inner = text->text("model_type", "deepseek_v3");
  if (inner != "kimi_k2" && inner != "deepseek_v3")
    throw text->unsupported("model_type", "only kimi_k2 and deepseek_v3 are known inside");
  ModelSpec spec = parse_deepseek_v3(*wrapper.find("text_config"), text->where());
  spec.architecture = "kimi_k25";
  read_end_ids(wrapper, spec.end_ids);
  if (spec.expert_storage == ExpertStorage::Plain) read_quantization(wrapper, spec);
  return spec;
}

constexpr std::array<std::string_view, 1> kTypes = {"kimi_k25"};
constexpr auto kTensors = join(kModelNames, kLatentNames, kDenseNames, kExpertNames,
                               kRouterBiasNames, kSharedExpertsNames);

}  // namespace

// The tensors are Kimi K2's, one level further in.
const Architecture kKimiK25 = {kTypes, parse, kTensors, "language_model."};

}  // namespace krasis
