#include "residency/divide.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "base/error.h"

namespace krasis {
namespace {

// A few kernels for what was copied last, and what the host adds to that.
constexpr double kAfterCopies = 100e-6;
// Two hundred microseconds of idling send the processor's threads to sleep.
constexpr double kProcessorStart = 60e-6;

// What a layer does beside its routed experts, which the ways wait for and the ring does not:
// launches and the wait for the routing, and for each token. Of an H100; a slower device is slower
// in both.
constexpr double kLayerStart = 200e-6;
constexpr double kLayerToken = 0.5e-6;

// Of all that is left to the processor.
struct ProcessorWork {
  double alone = 0;   // seconds
  double beside = 0;  // seconds while the link is busy

  void add(const WayCosts& costs, std::int32_t tokens, double sign) {
    const double sums = costs.processor_token * tokens;
    alone += sign * std::max(costs.processor, sums);
    beside += sign * std::max(costs.processor_beside, sums);
  }
};

// When link and processor have both ended.
double end_of(double link, const ProcessorWork& work, double start) {
  const double beside = start + work.beside;
  if (beside <= link) return link;
  return link + (1 - link / beside) * (start + work.alone);
}

double link_seconds(const WayCosts& costs, std::size_t copies) {
  if (copies == 0 && costs.link_busy <= 0) return 0;
  return costs.link_busy + static_cast<double>(copies) * costs.copy + costs.after_copies;
}

}  // namespace

AllowedWays allowed_ways(const ExpertPlacement& placement, std::int64_t tokens) {
  if (placement.mode == ExpertMode::ActiveOnly) return {.copy = true, .processor = false};
  const bool known = placement.link_rate > 0 && placement.processor_rate > 0;
  if (placement.prompt_threshold < 0 && known) return {};
  const std::int64_t threshold =
      placement.prompt_threshold < 0 ? kDefaultThreshold : placement.prompt_threshold;
  return {.copy = tokens >= threshold, .processor = tokens < threshold};
}

WayCosts way_costs(const ExpertPlacement& placement, std::size_t expert_bytes) {
  const auto bytes = static_cast<double>(expert_bytes);
  WayCosts costs{.copy = placement.link_rate > 0 ? bytes / placement.link_rate : 0,
                 .link_busy = 0,
                 .after_copies = kAfterCopies,
                 .processor = placement.processor_rate > 0 ? bytes / placement.processor_rate : 0,
                 .processor_beside = 0,
                 .processor_token = placement.processor_token_seconds,
                 .processor_start = kProcessorStart};
  costs.processor_beside = costs.processor;
  if (placement.memory_rate > 0 && placement.processor_rate > 0) {
    const double left =
        std::max(placement.memory_rate, placement.processor_rate) - placement.link_rate;
    const double least = placement.processor_rate / 10;  // whatever the link takes
    costs.processor_beside = bytes / std::clamp(left, least, placement.processor_rate);
  }
  return costs;
}

double seconds_between(std::int64_t tokens) {
  return kLayerStart + kLayerToken * static_cast<double>(tokens);
}

double divide(std::span<const std::int32_t> tokens, const WayCosts& costs, AllowedWays allowed,
              std::span<Way> ways) {
  ensure(tokens.size() == ways.size(), "divide: not one way an expert");
  ensure(allowed.copy || allowed.processor, "divide: no way is allowed");
  std::vector<std::int32_t> order;  // that are not resident, most tokens first
  for (std::size_t e = 0; e < tokens.size(); ++e) {
    if (tokens[e] <= 0) {
      ways[e] = Way::None;
    } else if (ways[e] != Way::Resident) {
      order.push_back(static_cast<std::int32_t>(e));
    }
  }
  const auto tokens_of = [&](std::int32_t e) { return tokens[static_cast<std::size_t>(e)]; };
  std::ranges::stable_sort(order, std::ranges::greater(), tokens_of);

  ProcessorWork work;
  for (const std::int32_t e : order) work.add(costs, tokens_of(e), 1);
  double best = std::numeric_limits<double>::infinity();
  std::size_t copies = 0;
  for (std::size_t n = 0; n <= order.size(); ++n) {
    const bool all = n == order.size();
    if ((n == 0 || allowed.copy) && (all || allowed.processor)) {
      const double link = link_seconds(costs, n);
      const double end = all ? link : end_of(link, work, costs.processor_start);
      if (end < best) {
        best = end;
        copies = n;
      }
    }
    if (!all) work.add(costs, tokens_of(order[n]), -1);
  }
  for (std::size_t n = 0; n < order.size(); ++n)
    ways[static_cast<std::size_t>(order[n])] = n < copies ? Way::Copy : Way::Processor;
  return order.empty() ? 0 : best;
}

double processor_seconds(std::span<const std::int32_t> tokens, std::span<const Way> ways,
                         const WayCosts& costs) {
  ensure(tokens.size() == ways.size(), "divide: not one way an expert");
  ProcessorWork work;
  std::size_t copies = 0;
  for (std::size_t e = 0; e < tokens.size(); ++e) {
    if (ways[e] == Way::Processor) work.add(costs, tokens[e], 1);
    if (ways[e] == Way::Copy) ++copies;
  }
  if (work.alone <= 0) return 0;
  const double link = link_seconds(costs, copies);
  const double beside = costs.processor_start + work.beside;
  return beside <= link ? beside : end_of(link, work, costs.processor_start);
}

PromptTimes predict(const ExpertPlacement& placement, const PromptShape& shape) {
  const auto layers = static_cast<double>(shape.layers);
  const auto experts = static_cast<double>(shape.experts);
  const auto tokens = static_cast<double>(shape.tokens);
  const double resident =
      std::min(static_cast<double>(shape.resident) / std::max(layers * experts, 1.0), 1.0);
  const WayCosts costs = way_costs(placement, shape.expert_bytes);
  const double device =
      layers * (kLayerStart * static_cast<double>(shape.parts) + kLayerToken * tokens);
  const double layer_copy = (1 - resident) * experts * costs.copy;

  const double pairs = tokens * static_cast<double>(shape.top_k) / static_cast<double>(shape.parts);
  const double chosen = experts * (1 - std::exp(-pairs / std::max(experts, 1.0)));
  const auto missing = static_cast<std::size_t>(std::lround((1 - resident) * chosen));
  const auto each = static_cast<std::int32_t>(std::lround(pairs / std::max(chosen, 1.0)));
  const std::vector<std::int32_t> counts(missing, std::max(each, 1));
  std::vector<Way> ways(missing, Way::None);
  const double layer = divide(counts, costs, allowed_ways(placement, shape.tokens), ways);
  return {
      .ring = std::max(layers * layer_copy + device / std::max(layers, 1.0), device + layer_copy),
      .ways = device + layers * static_cast<double>(shape.parts) * layer};
}

bool goes_by_ways(const ExpertPlacement& placement, const PromptShape& shape) {
  switch (placement.mode) {
    case ExpertMode::ActiveOnly:
    case ExpertMode::Persistent:
      return true;
    case ExpertMode::Grouped:
    case ExpertMode::Chunked:
      return false;
    case ExpertMode::Auto:
      break;
  }
  const AllowedWays allowed = allowed_ways(placement, shape.tokens);
  if (!allowed.copy) return true;  // the ring copies
  // Without rates only what must be copied can be compared.
  const bool known =
      placement.link_rate > 0 && (placement.processor_rate > 0 || !allowed.processor);
  if (!known) {
    const std::int64_t pairs = shape.tokens * shape.top_k;
    return pairs < shape.experts && shape.parts == 1;
  }
  const PromptTimes times = predict(placement, shape);
  return times.ways < times.ring;
}

}  // namespace krasis
