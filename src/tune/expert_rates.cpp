#include "tune/expert_rates.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "base/error.h"

namespace krasis {
namespace {

constexpr int kExpertRuns = 4;
constexpr std::size_t kColdBytes = std::size_t{512} << 20;  // more than caches hold
constexpr std::int64_t kManyTokens = 64, kManyExperts = 8;

// Seconds for `tokens` tokens that all choose the first `experts` experts.
double seconds_for(Ops& ops, const ExpertMatrices& layer, std::int64_t tokens,
                   std::int64_t experts) {
  std::vector<float> x(static_cast<std::size_t>(tokens * layer.hidden)), out(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 17) - 8;
  std::vector<std::int32_t> ids(static_cast<std::size_t>(tokens * experts));
  for (std::size_t i = 0; i < ids.size(); ++i)
    ids[i] = static_cast<std::int32_t>(i % static_cast<std::size_t>(experts));
  const std::vector<float> weights(ids.size(), 1);
  double best = 1e9;
  for (int run = 0; run < kExpertRuns; ++run) {
    const auto start = std::chrono::steady_clock::now();
    ops.experts({.x = {x.data(), tokens, layer.hidden},
                 .ids = ids,
                 .weights = weights,
                 .top_k = experts,
                 .matrices = layer,
                 .out = {out.data(), tokens, layer.hidden}});
    ops.synchronize();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    best = std::min(best, seconds.count());
  }
  return best;
}

}  // namespace

ExpertRates measure_expert_rates(Ops& ops, const ExpertMatrices& layer) {
  ensure(layer.tiled.has_value(), "expert rates: the experts are not tiled");
  const std::size_t expert_bytes = layer.tiled->expert_bytes;
  const auto some = static_cast<std::int64_t>(kColdBytes / expert_bytes + 1);
  const std::int64_t experts = std::min(layer.experts, some);
  const std::int64_t few = std::min(layer.experts, kManyExperts);
  return {.bytes = static_cast<double>(experts) * static_cast<double>(expert_bytes) /
                   seconds_for(ops, layer, 1, experts),
          .token_seconds =
              seconds_for(ops, layer, kManyTokens, few) / static_cast<double>(kManyTokens * few)};
}

}  // namespace krasis
