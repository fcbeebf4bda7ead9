#include "tune/expert_rates.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "base/error.h"

namespace krasis {
namespace {

constexpr std::size_t kExpertRuns = 5;
constexpr std::size_t kColdBytes = std::size_t{512} << 20;  // more than caches hold
// Experts that many tokens choose go to the device: the processor gets those with about so many.
// Kernels for blocks of tokens take for 17 what they take for 32; 16 is one block.
constexpr std::int64_t kManyTokens = 16;
constexpr std::int64_t kManyExperts = 64;

// Median seconds for `tokens` tokens that all choose the same `experts` experts, other ones in
// every run as far as the layer has them.
double seconds_for(Ops& ops, const ExpertMatrices& layer, std::int64_t tokens,
                   std::int64_t experts) {
  std::vector<float> x(static_cast<std::size_t>(tokens * layer.hidden)), out(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 17) - 8;
  std::vector<std::int32_t> ids(static_cast<std::size_t>(tokens * experts));
  const std::vector<float> weights(ids.size(), 1);
  std::vector<double> seconds;
  for (std::size_t run = 0; run <= kExpertRuns; ++run) {
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const auto chosen =
          static_cast<std::int64_t>(run) * experts + static_cast<std::int64_t>(i) % experts;
      ids[i] = static_cast<std::int32_t>(chosen % layer.experts);
    }
    const auto start = std::chrono::steady_clock::now();
    ops.experts({.x = {x.data(), tokens, layer.hidden},
                 .ids = ids,
                 .weights = weights,
                 .top_k = experts,
                 .matrices = layer,
                 .out = {out.data(), tokens, layer.hidden}});
    ops.synchronize();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    if (run > 0) seconds.push_back(took.count());  // the first finds memory for what lies between
  }
  std::ranges::sort(seconds);
  return seconds[kExpertRuns / 2];
}

}  // namespace

ExpertRates measure_expert_rates(Ops& ops, const ExpertMatrices& layer) {
  ensure(layer.tiled.has_value(), "expert rates: the experts are not tiled");
  const std::size_t expert_bytes = layer.tiled->expert_bytes;
  const auto some = static_cast<std::int64_t>(kColdBytes / expert_bytes + 1);
  const std::int64_t experts = std::min(layer.experts, some);
  const std::int64_t many = std::min(layer.experts, kManyExperts);
  return {.bytes = static_cast<double>(experts) * static_cast<double>(expert_bytes) /
                   seconds_for(ops, layer, 1, experts),
          .token_seconds =
              seconds_for(ops, layer, kManyTokens, many) / static_cast<double>(kManyTokens * many)};
}

}  // namespace krasis
