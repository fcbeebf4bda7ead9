#include "arch/model_config.h"

#include <algorithm>
#include <fmt/format.h>
#include <limits>

namespace krasis {
namespace {

void add_end_id(const ConfigReader& config, const nlohmann::json& value,
                std::vector<std::int32_t>& ids) {
  constexpr auto kMost = std::numeric_limits<std::int32_t>::max();
  if (!value.is_number_integer() || value < 0 || value > kMost) {
    throw config.corrupt("eos_token_id",
                         fmt::format("must be a token id of 0 to {} or a list of such ids", kMost));
  }
  const auto id = value.get<std::int32_t>();
  if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
}

void require_silu(const ConfigReader& config) {
  const std::string activation = config.text("hidden_act", "silu");
  if (activation != "silu" && activation != "swish")
    throw config.unsupported("hidden_act", "only silu is run");
}

// The one group of a compressed-tensors quantization, whatever its name.
ConfigReader packed_weights(const ConfigReader& quantization) {
  const std::optional<ConfigReader> groups = quantization.section("config_groups");
  if (!groups) throw quantization.corrupt("config_groups", "must be an object");
  const nlohmann::json& all = *quantization.find("config_groups");
  if (all.size() != 1)
    throw quantization.unsupported("config_groups", "only a single group is read");
  const std::string& name = all.begin().key();
  const std::optional<ConfigReader> first = groups->section(name);
  if (!first) throw groups->corrupt(name, "must be an object");
  const ConfigReader& group = *first;
  for (const char* key : {"input_activations", "output_activations"})
    if (group.has(key)) throw group.unsupported(key, "only weights may be quantized");
  const std::optional<ConfigReader> weights = group.section("weights");
  if (!weights) throw group.corrupt("weights", "must be an object");
  return *weights;
}

bool no_layer_slides(const ConfigReader& config, const std::vector<std::string>& types,
                     WindowLayers layers) {
  if (!types.empty())
    return std::find(types.begin(), types.end(), "sliding_attention") == types.end();
  return layers == WindowLayers::FromMaxWindowLayers &&
         config.integer("max_window_layers", {0, kMaxTokens}, 0) >= read_layer_count(config);
}

}  // namespace

ModelSpec read_model(const ConfigReader& config, double default_norm_eps) {
  require_silu(config);
  ModelSpec spec;
  spec.architecture = config.text("model_type", "");
  spec.hidden = config.integer("hidden_size", {1, kMaxWidth});
  spec.vocab = config.integer("vocab_size", {1, kMaxVocab});
  spec.context_length = config.integer("max_position_embeddings", {1, kMaxTokens});
  spec.norm_eps = config.number("rms_norm_eps", {1e-12, 1}, default_norm_eps);
  spec.tied_head = config.flag("tie_word_embeddings", false);
  read_end_ids(config, spec.end_ids);
  read_quantization(config, spec);
  return spec;
}

std::int64_t read_layer_count(const ConfigReader& config) {
  return config.integer("num_hidden_layers", {1, kMaxLayers});
}

void read_end_ids(const ConfigReader& config, std::vector<std::int32_t>& ids) {
  const nlohmann::json* value = config.find("eos_token_id");
  if (value == nullptr) return;
  if (!value->is_array()) return add_end_id(config, *value, ids);
  for (const nlohmann::json& id : *value) add_end_id(config, id, ids);
}

std::vector<std::string> read_layer_types(const ConfigReader& config) {
  const nlohmann::json* list = config.find("layer_types");
  if (list == nullptr) return {};
  const std::int64_t layers = read_layer_count(config);
  if (!list->is_array() || static_cast<std::int64_t>(list->size()) != layers)
    throw config.corrupt("layer_types", fmt::format("must be a list of {} names", layers));
  std::vector<std::string> types;
  for (const nlohmann::json& type : *list) {
    if (!type.is_string()) throw config.corrupt("layer_types", "must be a list of names");
    types.push_back(type.get<std::string>());
  }
  return types;
}

void refuse_sliding_window(const ConfigReader& config, const ModelSpec& spec, WindowLayers layers) {
  const std::vector<std::string> types = read_layer_types(config);
  for (const std::string& type : types) {
    if (type != "full_attention" && type != "sliding_attention") {
      throw Error(ErrorCode::Unsupported,
                  fmt::format("{}: \"layer_types\" holds \"{}\", but this architecture only has "
                              "full_attention",
                              config.where(), type));
    }
  }
  if (!config.has("sliding_window") || !config.flag("use_sliding_window", true)) {
    if (std::find(types.begin(), types.end(), "sliding_attention") != types.end())
      throw config.unsupported("sliding_window", "layer_types has sliding_attention");
    return;
  }
  const std::int64_t window = config.integer("sliding_window", {1, kMaxTokens});
  if (window >= spec.context_length) return;
  if (no_layer_slides(config, types, layers)) return;
  throw config.unsupported("sliding_window",
                           fmt::format("windows shorter than the context of {} tokens are not run",
                                       spec.context_length));
}

void read_quantization(const ConfigReader& config, ModelSpec& spec) {
  const std::optional<ConfigReader> quantization = config.section("quantization_config");
  if (!quantization) return;
  if (quantization->text("quant_method", "") != "compressed-tensors") {
    throw quantization->unsupported(
        "quant_method",
        "of quantized checkpoints only compressed-tensors is read; use the "
        "model's BF16 files");
  }
  if (quantization->text("format", "") != "pack-quantized")
    throw quantization->unsupported("format", "only pack-quantized is read");
  const ConfigReader weights = packed_weights(*quantization);
  if (weights.integer("num_bits", {1, 64}) != 4)
    throw weights.unsupported("num_bits", "only 4 is read");
  if (weights.text("type", "int") != "int") throw weights.unsupported("type", "only int is read");
  if (!weights.flag("symmetric", true)) throw weights.unsupported("symmetric", "it must be true");
  if (weights.flag("dynamic", false)) throw weights.unsupported("dynamic", "it must be false");
  if (weights.text("strategy", "group") != "group")
    throw weights.unsupported("strategy", "only group is read");
  if (weights.has("actorder")) throw weights.unsupported("actorder", "it must be null");
  const std::int64_t group = weights.integer("group_size", {1, kMaxWidth});
  if (group != 32 && group != 64 && group != 128)
    throw weights.unsupported("group_size", "only 32, 64 and 128 are read");
  spec.expert_storage = ExpertStorage::PackedInt4;
  spec.packed_group = group;
}

void validate(const ModelSpec& spec) {
  const bool sparse = std::any_of(spec.layers.begin(), spec.layers.end(), [](const auto& layer) {
    return std::holds_alternative<SparseFfn>(layer.ffn);
  });
  if (spec.expert_storage != ExpertStorage::Plain && !sparse) {
    throw Error(ErrorCode::Unsupported,
                "config.json: \"quantization_config\" packs weights, but the model has no routed "
                "experts: only those are read packed");
  }
}

}  // namespace krasis
