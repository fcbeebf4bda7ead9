// What every architecture's config.json has in common.
#pragma once

#include <vector>

#include "arch/config_reader.h"
#include "arch/model_spec.h"

namespace krasis {

// Everything of a ModelSpec but its layers: sizes, norms, head, end ids, how experts are stored.
// Throws Error(Unsupported) on an activation other than SiLU and on quantized checkpoints of a kind
// that is not read.
ModelSpec read_model(const ConfigReader& config, double default_norm_eps);

// num_hidden_layers. Layers beyond it in the checkpoint (multi-token prediction) are left out.
std::int64_t read_layer_count(const ConfigReader& config);

// Adds the ids of eos_token_id (a number or a list) that are not among `ids` yet.
void read_end_ids(const ConfigReader& config, std::vector<std::int32_t>& ids);

// layer_types, checked to be as long as the model; empty if the file has none.
std::vector<std::string> read_layer_types(const ConfigReader& config);

// Which layers a sliding window is for where layer_types does not say.
enum class WindowLayers : std::uint8_t { All, FromMaxWindowLayers };

// Throws Error(Unsupported) if attention would see less than the whole context in some layer:
// sliding windows are not run. A window that is switched off, as long as the context, or used in no
// layer is ignored.
void refuse_sliding_window(const ConfigReader& config, const ModelSpec& spec,
                           WindowLayers layers = WindowLayers::All);

// How compressed-tensors says the routed experts are packed, for a config.json whose
// quantization_config `config` holds; Plain if there is none.
void read_quantization(const ConfigReader& config, ModelSpec& spec);

// What no single key can say: every sum over the finished spec. Throws Error(Corrupt).
void validate(const ModelSpec& spec);

}  // namespace krasis
