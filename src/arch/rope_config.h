// Rotary embedding of a config.json: the base and every scaling rule, worked out to frequencies.
// Formulae: Su et al. 2021, https://arxiv.org/abs/2104.09864; YaRN: Peng et al. 2023,
// https://arxiv.org/abs/2309.00071, sections 3.2 to 3.4; Llama 3.1: its published model code. Where
// they leave freedom (rounding of the ramp's ends, mscale) Hugging Face transformers 5.17 is
// followed.
#pragma once

#include "arch/config_reader.h"
#include "arch/model_spec.h"

namespace krasis {

struct RopeRequest {
  std::int64_t head_dim = 0;           // what a partial factor is a part of
  std::optional<double> partial = {};  // the architecture's default; nullopt: it rotates all
  std::int64_t context_length = 0;     // max_position_embeddings
  bool interleaved = false;
};

struct Rope {
  RotarySpec rotary;
  double score_scale = 1;  // for latent attention: YaRN's mscale squared
};

// Reads rope_scaling, rope_parameters (also nested by layer type), rope_theta and
// partial_rotary_factor. Scaling types: default, linear, dynamic (which changes nothing within
// max_position_embeddings, and nothing longer is run), yarn, llama3; throws Error(Unsupported) on
// others, Error(Corrupt) on numbers that make no sense.
Rope read_rope(const ConfigReader& config, const RopeRequest& request);

}  // namespace krasis
