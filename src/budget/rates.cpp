#include "budget/rates.h"

#include <algorithm>

namespace krasis {
namespace {

constexpr double kLayerSynchronisation = 15e-6;  // seconds a layer that asks the processor

std::int64_t sparse_layers(const ModelSpec& spec) {
  return std::ranges::count_if(spec.layers, [](const LayerSpec& layer) {
    return std::holds_alternative<SparseFfn>(layer.ffn);
  });
}

PlannedRates of_seconds(double tokens, double bound, double expected) {
  return {.bound = bound > 0 ? tokens / bound : 0,
          .expected = expected > 0 ? tokens / expected : 0};
}

double quotient(double amount, double rate) {
  return rate > 0 ? amount / rate : 0;
}

}  // namespace

double operations_a_token(const ModelSpec& spec) {
  // A weight of one byte counts once; each is a multiplication and an addition. The router's
  // weights count as two bytes (token_bytes.h).
  const WeightBytes ones = {
      .attention = 1, .shared_expert = 1, .dense_mlp = 1, .lm_head = 0, .expert = 1};
  double routers = 0;
  for (const LayerSpec& layer : spec.layers) {
    if (const auto* ffn = std::get_if<SparseFfn>(&layer.ffn))
      routers += static_cast<double>(ffn->routing.experts) * static_cast<double>(spec.hidden);
  }
  return 2 * (static_cast<double>(decode_weight_bytes(spec, ones)) - routers);
}

double routed_bytes_a_token(const ModelSpec& spec, const WeightTypes& types) {
  WeightBytes weights = bytes_per_weight(types);
  const auto all = static_cast<double>(decode_weight_bytes(spec, weights));
  weights.expert = 0;
  return all - static_cast<double>(decode_weight_bytes(spec, weights));
}

PlannedRates prompt_rates(const ModelSpec& spec, const Plan& plan, const MachineRates& rates,
                          std::int64_t tokens) {
  if (!plan.on_device) return {};
  const std::int64_t pass = std::max<std::int64_t>(plan.pass_tokens, 1);
  const auto passes = static_cast<double>((tokens + pass - 1) / pass);
  const auto streamed = static_cast<double>(plan.streamed_bytes);
  const double copies = passes * quotient(streamed, rates.link);
  const double work =
      quotient(static_cast<double>(tokens) * operations_a_token(spec), rates.operations);
  const auto layers = static_cast<double>(std::max<std::int64_t>(sparse_layers(spec), 1));
  const double fill = passes * quotient(streamed / layers, rates.link);
  const bool overlapped = plan.placement.mode == ExpertMode::Auto ||
                          plan.placement.mode == ExpertMode::Grouped || plan.all_resident;
  const double bound = std::max(copies, work);
  return of_seconds(static_cast<double>(tokens), bound, overlapped ? bound + fill : copies + work);
}

PlannedRates decode_rates(const ModelSpec& spec, const WeightTypes& types, const Plan& plan,
                          const MachineRates& rates, std::optional<double> measured_hits) {
  const double routed = routed_bytes_a_token(spec, types);
  const double dense =
      static_cast<double>(decode_weight_bytes(spec, bytes_per_weight(types))) - routed;
  if (!plan.on_device) {
    const double seconds = quotient(dense + routed, rates.ram);
    return of_seconds(1, seconds, seconds);
  }
  const double even =
      plan.experts == 0 || plan.all_resident
          ? 1
          : static_cast<double>(plan.resident_experts) / static_cast<double>(plan.experts);
  const double hits = measured_hits.value_or(even);
  const double on_device = quotient(dense + hits * routed, rates.vram);
  const double misses = quotient((1 - hits) * routed, rates.ram);
  // The dense part of a layer comes before and after its experts; only resident experts are
  // computed while the processor works.
  const double before = quotient(dense, rates.vram);
  const double together = before + std::max(on_device - before, misses);
  const double waiting =
      hits < 1 ? static_cast<double>(sparse_layers(spec)) * kLayerSynchronisation : 0;
  return of_seconds(1, together, together + waiting);
}

}  // namespace krasis
