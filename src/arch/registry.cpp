#include <array>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "arch/architecture.h"
#include "arch/config_reader.h"
#include "arch/known.h"
#include "arch/model_config.h"
#include "base/file.h"
#include "formats/json_problem.h"

namespace krasis {
namespace {

constexpr std::size_t kMaxConfigBytes = std::size_t{16} << 20;

void replace(std::string& name, std::string_view placeholder, std::int64_t number) {
  const std::size_t at = name.find(placeholder);
  if (at != std::string::npos) name.replace(at, placeholder.size(), std::to_string(number));
}

nlohmann::json read_json(const std::filesystem::path& path) {
  const std::string text = read_file(path, kMaxConfigBytes);
  try {
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::exception& error) {
    throw Error(ErrorCode::Corrupt,
                fmt::format("{}: {}; download it again", path.string(), json_problem(text, error)));
  }
}

}  // namespace

// A plain list: static registration would let the linker drop an architecture without a word.
std::span<const Architecture* const> architectures() {
  static constexpr std::array kAll = {&kQwen3Next, &kQwen3Moe, &kDeepseekV2, &kDeepseekV3,
                                      &kKimiK25,   &kGlm4Moe,  &kQwen3,      &kLlama};
  return kAll;
}

const Architecture& architecture_of(const nlohmann::json& config) {
  const ConfigReader reader(config, "config.json");
  if (!reader.has("model_type")) throw reader.corrupt("model_type", "must name an architecture");
  const std::string type = reader.text("model_type", "");
  std::string known;
  for (const Architecture* candidate : architectures()) {
    for (const std::string_view name : candidate->model_types) {
      if (name == type) return *candidate;
      known += fmt::format("{}{}", known.empty() ? "" : ", ", name);
    }
  }
  throw reader.unsupported("model_type", "the known ones are " + known);
}

std::string tensor_name(const Architecture& architecture, Role role, std::int64_t layer,
                        std::int64_t expert) {
  for (const TensorRule& rule : architecture.tensors) {
    if (rule.role != role) continue;
    std::string name = std::string(architecture.prefix) + std::string(rule.name);
    replace(name, "{L}", layer);
    replace(name, "{E}", expert);
    return name;
  }
  throw Error(ErrorCode::Internal,
              fmt::format("arch: {} has no tensor of role {}", architecture.model_types.front(),
                          static_cast<int>(role)));
}

ModelDescription read_model_description(const std::filesystem::path& model_dir) {
  const nlohmann::json config = read_json(model_dir / "config.json");
  const Architecture& architecture = architecture_of(config);
  ModelDescription description = {&architecture, architecture.parse(config)};
  const std::filesystem::path generation = model_dir / "generation_config.json";
  if (std::filesystem::exists(generation)) {
    const nlohmann::json json = read_json(generation);
    read_end_ids(ConfigReader(json, "generation_config.json"), description.spec.end_ids);
  }
  return description;
}

}  // namespace krasis
