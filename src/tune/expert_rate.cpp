#include "tune/expert_rate.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <vector>

namespace krasis {
namespace {

constexpr std::size_t kMostLayers = 9;
constexpr std::int64_t kManyTokens = 32;
// Of a call: more than what waking the threads costs, less than would be noticed.
constexpr std::size_t kFewBytes = std::size_t{96} << 20;
constexpr std::size_t kManyBytes = std::size_t{24} << 20;

// Median seconds of an expert in calls in which `tokens` tokens all have the same experts, a layer
// a call: what the caches hold of one is not asked for again.
double expert_seconds(Ops& processor, std::span<const ExpertMatrices> layers, std::int64_t tokens,
                      std::size_t bytes) {
  std::vector<double> seconds;
  const std::size_t step = std::max<std::size_t>(layers.size() / kMostLayers, 1);
  for (std::size_t i = 0; i < layers.size(); i += step) {
    const ExpertMatrices& layer = layers[i];
    const auto top_k = std::clamp<std::int64_t>(
        static_cast<std::int64_t>(bytes / layer.tiled->expert_bytes), 1, layer.experts);
    const auto pairs = static_cast<std::size_t>(tokens * top_k);
    const auto numbers = static_cast<std::size_t>(tokens * layer.hidden);
    std::vector<std::int32_t> ids(pairs);
    for (std::size_t p = 0; p < pairs; ++p)
      ids[p] = static_cast<std::int32_t>(static_cast<std::int64_t>(p) % top_k);
    const std::vector<float> x(numbers, 0.5F), weights(pairs, 1);
    std::vector<float> out(numbers);
    const Experts op{.x = {x.data(), tokens, layer.hidden},
                     .ids = ids,
                     .weights = weights,
                     .top_k = top_k,
                     .matrices = layer,
                     .out = {out.data(), tokens, layer.hidden}};
    if (i == 0) processor.experts(op);  // memory for intermediate results
    const auto start = std::chrono::steady_clock::now();
    processor.experts(op);
    processor.synchronize();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    seconds.push_back(took.count() / static_cast<double>(top_k));
  }
  std::ranges::nth_element(seconds,
                           seconds.begin() + static_cast<std::ptrdiff_t>(seconds.size() / 2));
  return seconds[seconds.size() / 2];
}

}  // namespace

ExpertRates measure_expert_rates(Ops& processor, std::span<const ExpertMatrices> layers) {
  if (layers.empty()) return {};
  const auto bytes = static_cast<double>(layers.front().tiled->expert_bytes);
  return {.bytes_a_second = bytes / expert_seconds(processor, layers, 1, kFewBytes),
          .token_seconds = expert_seconds(processor, layers, kManyTokens, kManyBytes) /
                           static_cast<double>(kManyTokens)};
}

}  // namespace krasis
