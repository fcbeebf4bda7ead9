#include "arch/rope_config.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <fmt/format.h>
#include <numbers>

namespace krasis {
namespace {

constexpr std::array<std::string_view, 4> kScalings = {"linear", "dynamic", "yarn", "llama3"};
constexpr double kDefaultTheta = 10000;
constexpr NumberRange kThetaRange = {1.0001, 1e15};
constexpr NumberRange kFactorRange = {1e-3, 1e6};

// Frequencies are rounded to F32 after each step, as in the models' own code: at long distances the
// angle would otherwise differ in its last bits.
std::vector<float> plain_frequencies(double theta, std::int64_t dim) {
  std::vector<float> frequencies;
  for (std::int64_t i = 0; i < dim; i += 2) {
    const float exponent = static_cast<float>(i) / static_cast<float>(dim);
    const auto wave =
        static_cast<float>(std::pow(static_cast<float>(theta), static_cast<double>(exponent)));
    frequencies.push_back(1.0F / wave);
  }
  return frequencies;
}

double yarn_mscale(double factor, double mscale) {
  return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

struct Yarn {
  double theta = 0;
  double factor = 1;
  double beta_fast = 32, beta_slow = 1;
  double original_length = 0;
  bool truncate = true;
};

// The (fractional) pair that turns `rotations` times over the original length.
double yarn_pair(const Yarn& yarn, double rotations, std::int64_t dim) {
  return static_cast<double>(dim) *
         std::log(yarn.original_length / (rotations * 2 * std::numbers::pi)) /
         (2 * std::log(yarn.theta));
}

void stretch_yarn(std::vector<float>& frequencies, const Yarn& yarn, std::int64_t dim) {
  double low = yarn_pair(yarn, yarn.beta_fast, dim);
  double high = yarn_pair(yarn, yarn.beta_slow, dim);
  if (yarn.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(dim - 1));
  if (low == high) high += 0.001;  // a step instead of a ramp
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    const float ramp = std::clamp(
        (static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low), 0.0F,
        1.0F);
    const float kept = 1.0F - ramp;
    const float stretched = 1.0F / (static_cast<float>(yarn.factor) * (1.0F / frequencies[i]));
    frequencies[i] = stretched * (1.0F - kept) + frequencies[i] * kept;
  }
}

struct Llama3 {
  double factor = 1, low = 1, high = 4;
  double original_length = 0;
};

void stretch_llama3(std::vector<float>& frequencies, const Llama3& rule) {
  for (float& frequency : frequencies) {
    const double wavelength = 2 * std::numbers::pi / static_cast<double>(frequency);
    if (wavelength < rule.original_length / rule.high) continue;
    const double slow = static_cast<double>(frequency) / rule.factor;
    if (wavelength > rule.original_length / rule.low) {
      frequency = static_cast<float>(slow);
      continue;
    }
    const double smooth = (rule.original_length / wavelength - rule.low) / (rule.high - rule.low);
    frequency = static_cast<float>((1 - smooth) * slow + smooth * static_cast<double>(frequency));
  }
}

// The object that holds the scaling rule: rope_scaling (older files) or rope_parameters (newer
// ones, in which it may be nested by layer type; only full attention is run here).
std::optional<ConfigReader> scaling_section(const ConfigReader& config) {
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const nlohmann::json* value = config.find(key);
    if (value == nullptr || value->empty()) continue;
    std::optional<ConfigReader> section = config.section(key);
    for (const char* type : {"full_attention", "sliding_attention", "linear_attention"}) {
      if (!section->find(type) || !section->find(type)->is_object()) continue;
      std::optional<ConfigReader> nested = section->section("full_attention");
      if (!nested) throw section->unsupported("full_attention", "full attention needs its rotary");
      return nested;
    }
    return section;
  }
  return std::nullopt;
}

double read_theta(const ConfigReader& config, const std::optional<ConfigReader>& scaling) {
  if (scaling && scaling->has("rope_theta")) return scaling->number("rope_theta", kThetaRange);
  if (config.has("rope_theta")) return config.number("rope_theta", kThetaRange);
  const std::optional<ConfigReader> parameters = config.section("rope_parameters");
  return parameters ? parameters->number("rope_theta", kThetaRange, kDefaultTheta) : kDefaultTheta;
}

std::int64_t read_rotary_dim(const ConfigReader& config, const std::optional<ConfigReader>& scaling,
                             const RopeRequest& request) {
  constexpr const char* kKey = "partial_rotary_factor";
  const ConfigReader& holder = scaling && scaling->has(kKey) ? *scaling : config;
  const double factor = holder.number(kKey, {1e-4, 1}, request.partial.value_or(1.0));
  if (!request.partial && factor != 1)
    throw holder.unsupported(kKey, "this architecture rotates whole heads: it must be 1");
  const auto dim = static_cast<std::int64_t>(static_cast<double>(request.head_dim) * factor);
  if (dim < 2 || dim % 2 != 0) {
    throw holder.corrupt(kKey, fmt::format("of {} numbers a head it leaves {} to rotate, which is "
                                           "not a positive even number",
                                           request.head_dim, dim));
  }
  return dim;
}

double original_length(const ConfigReader& config, const ConfigReader& scaling,
                       const RopeRequest& request) {
  constexpr const char* kKey = "original_max_position_embeddings";
  const ConfigReader& holder = config.has(kKey) ? config : scaling;
  return static_cast<double>(holder.integer(kKey, {1, kMaxTokens}, request.context_length));
}

// A key for which the models' code takes 0 to mean "not given".
double number_unless_zero(const ConfigReader& section, const char* key, double fallback) {
  const double value = section.number(key, {0, 1e6}, fallback);
  return value == 0 ? fallback : value;
}

void apply_yarn(const ConfigReader& scaling, Yarn yarn, std::int64_t dim, Rope& rope) {
  yarn.beta_fast = number_unless_zero(scaling, "beta_fast", 32);
  yarn.beta_slow = number_unless_zero(scaling, "beta_slow", 1);
  yarn.truncate = scaling.flag("truncate", true);
  stretch_yarn(rope.rotary.frequencies, yarn, dim);
  const double mscale = scaling.number("mscale", {0, 1e3}, 0);
  const double all_dim = scaling.number("mscale_all_dim", {0, 1e3}, 0);
  double scale = yarn_mscale(yarn.factor, 1);
  if (mscale != 0 && all_dim != 0)
    scale = yarn_mscale(yarn.factor, mscale) / yarn_mscale(yarn.factor, all_dim);
  rope.rotary.scale = static_cast<float>(scaling.number("attention_factor", {1e-3, 1e3}, scale));
}

void apply_llama3(const ConfigReader& scaling, double factor, double length, Rope& rope) {
  const Llama3 rule = {.factor = factor,
                       .low = scaling.number("low_freq_factor", {1e-3, 1e6}),
                       .high = scaling.number("high_freq_factor", {1e-3, 1e6}),
                       .original_length = length};
  if (rule.high <= rule.low)
    throw scaling.corrupt("high_freq_factor", "must be greater than low_freq_factor");
  stretch_llama3(rope.rotary.frequencies, rule);
}

}  // namespace

Rope read_rope(const ConfigReader& config, const RopeRequest& request) {
  const std::optional<ConfigReader> scaling = scaling_section(config);
  const double theta = read_theta(config, scaling);
  const std::int64_t dim = read_rotary_dim(config, scaling, request);
  Rope rope;
  rope.rotary.frequencies = plain_frequencies(theta, dim);
  rope.rotary.interleaved = request.interleaved;
  if (!scaling) return rope;

  const char* type_key = scaling->has("rope_type") ? "rope_type" : "type";
  const std::string type = scaling->text(type_key, "default");
  if (type == "default") return rope;
  if (std::find(kScalings.begin(), kScalings.end(), type) == kScalings.end()) {
    throw scaling->unsupported(
        type_key, "of rotary scalings only default, linear, dynamic, yarn and llama3 are known");
  }
  const double length = original_length(config, *scaling, request);
  // YaRN files may leave the factor to the ratio of the two lengths.
  const double factor = type == "yarn"
                            ? scaling->number("factor", kFactorRange,
                                              static_cast<double>(request.context_length) / length)
                            : scaling->number("factor", kFactorRange);
  if (type == "linear") {
    for (float& frequency : rope.rotary.frequencies) frequency /= static_cast<float>(factor);
  } else if (type == "yarn") {
    apply_yarn(*scaling, {.theta = theta, .factor = factor, .original_length = length}, dim, rope);
  } else if (type == "llama3") {
    apply_llama3(*scaling, factor, length, rope);
  }
  const double all_dim = scaling->number("mscale_all_dim", {0, 1e3}, 0);
  if (all_dim != 0) rope.score_scale = std::pow(yarn_mscale(factor, all_dim), 2);
  return rope;
}

}  // namespace krasis
