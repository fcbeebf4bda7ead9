// The list of architectures and the names of their tensors.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>

#include "arch/model_spec.h"

namespace krasis {

enum class Role : std::uint8_t {
  Embedding,
  FinalNorm,
  Head,
  MixerNorm,
  FfnNorm,
  // grouped-query attention
  Query,
  QueryBias,
  Key,
  KeyBias,
  Value,
  ValueBias,
  Output,
  OutputBias,
  QueryNorm,
  KeyNorm,
  // latent attention
  QueryDown,
  QueryDownBias,
  QueryDownNorm,
  QueryUp,
  KvDown,
  KvDownBias,
  KvDownNorm,
  KvUp,
  // gated delta net
  DeltaQkvz,
  DeltaBa,
  DeltaConv,
  DeltaALog,
  DeltaDtBias,
  DeltaNorm,
  DeltaOutput,
  // feed-forward
  Gate,
  GateBias,
  Up,
  UpBias,
  Down,
  DownBias,
  Router,
  RouterBias,
  ExpertGate,
  ExpertUp,
  ExpertDown,
  SharedGate,
  SharedUp,
  SharedDown,
  SharedExpertGate,
};

// Where a tensor comes from; {L} and {E} stand for the layer and the expert.
struct TensorRule {
  Role role;
  std::string_view name;
};

struct Architecture {
  std::span<const std::string_view> model_types;  // config.json "model_type" values it serves
  // config: the whole config.json. Throws Error(Corrupt) naming a missing or misshapen key,
  // Error(Unsupported) naming what this build cannot run.
  ModelSpec (*parse)(const nlohmann::json& config);
  std::span<const TensorRule> tensors;
  std::string_view prefix = {};  // before every name
};

std::span<const Architecture* const> architectures();

// The architecture of a config.json; throws Error(Unsupported) that lists the known model types.
const Architecture& architecture_of(const nlohmann::json& config);

// The checkpoint's name of a tensor. Throws Error(Internal) if the architecture has no such role.
std::string tensor_name(const Architecture& architecture, Role role, std::int64_t layer = 0,
                        std::int64_t expert = 0);

struct ModelDescription {
  const Architecture* architecture;
  ModelSpec spec;
};

// Reads config.json (and generation_config.json where there is one) of a model folder.
ModelDescription read_model_description(const std::filesystem::path& model_dir);

}  // namespace krasis
