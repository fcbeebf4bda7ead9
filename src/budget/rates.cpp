#include "budget/rates.h"

#include <algorithm>
#include <cmath>

namespace krasis {
namespace {

// What the bounds leave out, from docs/benchmarks.md (H100, 16 Sapphire Rapids cores).
constexpr double kLayerSeconds = 43e-6;          // of a step beside reading, each layer
constexpr double kLayerSynchronisation = 15e-6;  // and where it asks the processor
constexpr double kDeviceShare = 0.4;     // of the products' rate in whole prompts: 0.32 to 0.41
constexpr double kProcessorShare = 0.5;  // of the experts' kernels alone: 0.43 to 0.75
constexpr double kReadShare = 0.7;       // of RAM's rate in steps on the processor: 0.69 to 1.20
// Of the link's rate, what its reads add to the processor's: both read the same RAM.
constexpr double kLinkBeside = 0.4;

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

// Of the experts' bytes, those that `tokens` tokens read together if each chooses evenly.
double chosen_bytes(const ModelSpec& spec, const WeightTypes& types, double tokens) {
  double share = 0;
  for (const LayerSpec& layer : spec.layers) {
    if (const auto* ffn = std::get_if<SparseFfn>(&layer.ffn)) {
      const double one = static_cast<double>(ffn->routing.top_k) /
                         static_cast<double>(std::max<std::int64_t>(ffn->routing.experts, 1));
      share += 1 - std::pow(1 - one, tokens);
    }
  }
  const auto layers = static_cast<double>(std::max<std::int64_t>(sparse_layers(spec), 1));
  return share / layers * static_cast<double>(expert_bytes(spec, types).all);
}

// Every pass reads the weights.
PlannedRates processor_prompt_rates(const ModelSpec& spec, const WeightTypes& types,
                                    const Plan& plan, const MachineRates& rates,
                                    const PromptSize& prompt) {
  if (rates.processor_operations == 0 || rates.ram == 0) return {};
  const auto tokens = static_cast<double>(prompt.tokens);
  const double pass = std::min(tokens, static_cast<double>(plan.pass_tokens));
  const double dense = static_cast<double>(decode_weight_bytes(spec, bytes_per_weight(types))) -
                       routed_bytes_a_token(spec, types);
  const double reading =
      std::ceil(tokens / pass) * (dense + chosen_bytes(spec, types, pass)) / rates.ram;
  const double work = (tokens * operations_a_token(spec) + attention_operations(spec, prompt)) /
                      rates.processor_operations;
  return of_seconds(tokens, std::max(reading, work), std::max(reading, work / kProcessorShare));
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

double attention_operations(const ModelSpec& spec, const PromptSize& prompt) {
  const auto tokens = static_cast<double>(prompt.tokens);
  const double pairs = tokens * static_cast<double>(prompt.past) + tokens * (tokens + 1) / 2;
  double operations = 0;
  for (const LayerSpec& layer : spec.layers) {
    if (const auto* grouped = std::get_if<GroupedQueryAttention>(&layer.mixer)) {
      operations += 4 * pairs * static_cast<double>(grouped->heads * grouped->head_dim);
    } else if (const auto* latent = std::get_if<LatentAttention>(&layer.mixer)) {
      // Not absorbed, which takes fewer.
      const std::int64_t dims = latent->nope_dim + latent->rope_dim + latent->value_dim;
      operations += 2 * pairs * static_cast<double>(latent->heads * dims);
    } else if (const auto* delta = std::get_if<GatedDeltaNet>(&layer.mixer)) {
      // A token's key and query read the state, and its value is written to it.
      const std::int64_t state = delta->value_heads * delta->key_dim * delta->value_dim;
      operations += 6 * tokens * static_cast<double>(state);
    }
  }
  return operations;
}

PlannedRates prompt_rates(const ModelSpec& spec, const WeightTypes& types, const Plan& plan,
                          const MachineRates& rates, const PromptSize& prompt) {
  if (!plan.on_device) return processor_prompt_rates(spec, types, plan, rates, prompt);
  const auto tokens = static_cast<double>(prompt.tokens);
  const std::int64_t pass = std::max<std::int64_t>(plan.pass_tokens, 1);
  const std::int64_t whole_passes = (prompt.tokens + pass - 1) / pass;
  const auto passes = static_cast<double>(whole_passes);
  const auto streamed = static_cast<double>(plan.streamed_bytes);
  const double copies = passes * quotient(streamed, rates.link);
  const double work = quotient(
      tokens * operations_a_token(spec) + attention_operations(spec, prompt), rates.operations);
  const double expected_work = work / kDeviceShare;
  const auto layers = static_cast<double>(std::max<std::int64_t>(sparse_layers(spec), 1));
  const double fill = passes * quotient(streamed / layers, rates.link);
  const bool overlapped = plan.placement.mode == ExpertMode::Auto ||
                          plan.placement.mode == ExpertMode::Grouped || plan.all_resident;
  return of_seconds(tokens, std::max(copies, work),
                    overlapped ? std::max(copies, expected_work) + fill : copies + expected_work);
}

PlannedRates decode_rates(const ModelSpec& spec, const WeightTypes& types, const Plan& plan,
                          const MachineRates& rates, const StepState& step) {
  const double routed = routed_bytes_a_token(spec, types);
  // The cache is read, recurrent state read and written.
  const double dense =
      static_cast<double>(decode_weight_bytes(spec, bytes_per_weight(types))) - routed +
      static_cast<double>(step.context) * static_cast<double>(plan.token_cache_bytes) +
      2 * static_cast<double>(plan.state_bytes);
  if (!plan.on_device) {
    const double seconds = quotient(dense + routed, rates.ram);
    return of_seconds(1, seconds, seconds / kReadShare);
  }
  const double even =
      plan.experts == 0 || plan.all_resident
          ? 1
          : static_cast<double>(plan.resident_experts) / static_cast<double>(plan.experts);
  const double hits = step.hits.value_or(even);
  const double link = step.hits ? 0 : rates.link;
  // The dense part of a layer comes before and after its experts; only resident experts are
  // computed while the others are read.
  const double before = quotient(dense, rates.vram);
  const double residents = quotient(hits * routed, rates.vram);
  const auto together = [&](double missing_rate) {
    return before + std::max(residents, quotient((1 - hits) * routed, missing_rate));
  };
  const double waiting =
      static_cast<double>(spec.layers.size()) * kLayerSeconds +
      (hits < 1 ? static_cast<double>(sparse_layers(spec)) * kLayerSynchronisation : 0);
  return of_seconds(1, together(rates.ram + link),
                    together(rates.ram + kLinkBeside * link) + waiting);
}

}  // namespace krasis
