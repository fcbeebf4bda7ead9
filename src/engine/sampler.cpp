#include "engine/sampler.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <fmt/core.h>
#include <limits>

#include "base/error.h"
#include "ops/top_logits.h"

namespace krasis {
namespace {

void require(bool good, const char* name, double value, const char* range) {
  if (good) return;
  throw Error(ErrorCode::InvalidArgument,
              fmt::format("sampling: {} is {}, choose {}", name, value, range));
}

bool within(double value, double low, double high) {
  return value >= low && value <= high;
}

constexpr float kMost = std::numeric_limits<float>::max();

// Throws if the highest logit, or the first that is no number, cannot be sampled from.
void require_number(float highest, std::int64_t id) {
  if (!(highest <= kMost)) {
    throw Error(ErrorCode::Internal,
                fmt::format("sampling: the logit of token {} is {}; the model's weights or a "
                            "kernel are damaged",
                            id, highest));
  }
  if (highest < -kMost)
    throw Error(ErrorCode::Internal, "sampling: every logit is -inf, no token can be chosen");
}

// The highest logit; throws if the logits cannot be sampled from.
float highest_of(std::span<const float> logits) {
  constexpr std::size_t kLogitLanes = 8;  // side by side, so that the compiler may use vectors
  std::array<float, kLogitLanes> highest_lane;
  highest_lane.fill(-std::numeric_limits<float>::infinity());
  std::array<int, kLogitLanes> bad_lane{};
  const auto look = [&](std::size_t lane, float logit) {
    highest_lane[lane] = logit > highest_lane[lane] ? logit : highest_lane[lane];
    bad_lane[lane] |= static_cast<int>(!(logit <= kMost));
  };
  std::size_t i = 0;
  for (; i + kLogitLanes <= logits.size(); i += kLogitLanes)
    for (std::size_t lane = 0; lane < kLogitLanes; ++lane) look(lane, logits[i + lane]);
  for (; i < logits.size(); ++i) look(0, logits[i]);
  const float highest = *std::ranges::max_element(highest_lane);
  if (std::ranges::count(bad_lane, 0) != kLogitLanes) {
    const auto first = std::ranges::find_if(logits, [](float logit) { return !(logit <= kMost); });
    require_number(*first, first - logits.begin());
  }
  require_number(highest, 0);
  return highest;
}

bool better(const TokenLogprob& a, const TokenLogprob& b) {
  return a.logprob > b.logprob || (a.logprob == b.logprob && a.id < b.id);
}

// The `count` best tokens in any order, their logits as logprob. One pass: a token that beats the
// count-th best so far goes into a buffer that is cut back to `count` whenever it is full.
void select_best(std::span<const float> logits, std::size_t count,
                 std::vector<TokenLogprob>& best) {
  const std::size_t capacity = 2 * count + 64;
  const auto cut = [&] {
    const auto last = best.begin() + static_cast<std::ptrdiff_t>(count) - 1;
    std::ranges::nth_element(best, last, better);
    best.resize(count);
    return best.back().logprob;
  };
  best.clear();
  best.reserve(capacity);
  float threshold = -std::numeric_limits<float>::infinity();
  for (std::size_t id = 0; id < logits.size(); ++id) {
    if (!(logits[id] > threshold)) continue;
    best.push_back({static_cast<std::int32_t>(id), logits[id]});
    if (best.size() == capacity) threshold = cut();
  }
  if (best.size() > count) cut();
}

void add_logprobs(std::span<const float> logits, float highest, const SamplingOptions& options,
                  SamplerScratch& scratch, Choice& choice) {
  scratch.distribution.assign(logits, highest, 1);
  const double log_total = std::log(scratch.distribution.total()) + highest;
  const auto logprob = [&](float logit) { return static_cast<float>(logit - log_total); };
  choice.chosen = {choice.id, logprob(logits[static_cast<std::size_t>(choice.id)])};
  if (options.top_logprobs == 0) return;
  select_best(logits, static_cast<std::size_t>(options.top_logprobs), scratch.best);
  std::ranges::sort(scratch.best, better);
  for (const TokenLogprob& token : scratch.best)
    choice.top_logprobs.push_back({token.id, logprob(token.logprob)});
}

}  // namespace

void check(const SamplingOptions& options, std::int64_t vocab) {
  require(within(options.temperature, 0, 100), "temperature", options.temperature, "0 to 100");
  require(options.top_p > 0 && options.top_p <= 1, "top_p", options.top_p, "above 0, up to 1");
  require(within(options.min_p, 0, 1), "min_p", options.min_p, "0 to 1");
  require(options.top_k >= 0, "top_k", static_cast<double>(options.top_k),
          "a positive number, or 0 for all");
  require(within(options.presence_penalty, -2, 2), "presence_penalty", options.presence_penalty,
          "-2 to 2");
  require(within(options.frequency_penalty, -2, 2), "frequency_penalty", options.frequency_penalty,
          "-2 to 2");
  require(options.repetition_penalty > 0 && options.repetition_penalty <= 100, "repetition_penalty",
          options.repetition_penalty, "above 0, up to 100");
  require(within(options.top_logprobs, 0, kMaxTopLogprobs), "top_logprobs", options.top_logprobs,
          "0 to 20");
  for (const auto& [id, bias] : options.logit_bias) {
    if (id < 0 || id >= vocab) {
      throw Error(
          ErrorCode::InvalidArgument,
          fmt::format("sampling: logit_bias names token {}, the vocabulary has {}", id, vocab));
    }
    require(within(bias, -100, 100), "logit_bias", bias, "-100 to 100");
  }
}

Sampler::Sampler(const SamplingOptions& options, std::uint64_t seed,
                 std::span<const std::int32_t> prompt)
    : options_(options), random_(seed) {
  if (options_.repetition_penalty == 1) return;
  for (const std::int32_t id : prompt) generated_.try_emplace(id, 0);
}

Choice Sampler::sample(std::span<float> logits, SamplerScratch& scratch) {
  adjust(logits);
  const float highest = highest_of(logits);
  Choice choice;
  if (options_.temperature == 0 || options_.top_k == 1) {
    choice.id = static_cast<std::int32_t>(std::ranges::find(logits, highest) - logits.begin());
  } else {
    choice.id = draw(logits, highest, scratch);
  }
  if (options_.logprobs) add_logprobs(logits, highest, options_, scratch, choice);
  remember(choice.id);
  return choice;
}

void Sampler::adjust(std::span<float> logits) const {
  for (const auto& [id, count] : generated_) {
    float& logit = logits[static_cast<std::size_t>(id)];
    logit = logit > 0 ? logit / options_.repetition_penalty : logit * options_.repetition_penalty;
    if (count > 0) {
      logit -= options_.presence_penalty;
      logit -= static_cast<float>(count) * options_.frequency_penalty;
    }
  }
  for (const auto& [id, bias] : options_.logit_bias) logits[static_cast<std::size_t>(id)] += bias;
}

std::int32_t Sampler::draw(std::span<const float> logits, float highest, SamplerScratch& scratch) {
  const auto top_k = static_cast<std::size_t>(options_.top_k);
  if (top_k == 0 || top_k >= logits.size()) {
    scratch.distribution.assign(logits, highest, options_.temperature);
    return static_cast<std::int32_t>(
        scratch.distribution.draw(options_.top_p, options_.min_p, random_));
  }
  select_best(logits, top_k, scratch.best);
  return draw_from_best(highest, scratch);
}

std::int32_t Sampler::draw_from_best(float highest, SamplerScratch& scratch) {
  // By id, so that the draw does not depend on how the selection went.
  std::ranges::sort(scratch.best, {}, &TokenLogprob::id);
  scratch.best_logits.clear();
  for (const TokenLogprob& token : scratch.best) scratch.best_logits.push_back(token.logprob);
  scratch.distribution.assign(scratch.best_logits, highest, options_.temperature);
  return scratch.best[scratch.distribution.draw(options_.top_p, options_.min_p, random_)].id;
}

bool Sampler::penalizes() const {
  return options_.repetition_penalty != 1 || options_.presence_penalty != 0 ||
         options_.frequency_penalty != 0;
}

void Sampler::remember(std::int32_t id) {
  if (penalizes()) ++generated_[id];
}

std::int64_t Sampler::best_needed(std::int64_t vocab) const {
  if (penalizes() || !options_.logit_bias.empty() || options_.logprobs) return 0;
  if (options_.temperature == 0) return 1;
  return options_.top_k < vocab && options_.top_k <= kMostTopLogits ? options_.top_k : 0;
}

Choice Sampler::sample_best(std::span<const std::int32_t> ids, std::span<const float> logits,
                            SamplerScratch& scratch) {
  const float highest = logits.front();
  require_number(highest, ids.front());
  Choice choice;
  choice.id = ids.front();
  if (options_.temperature == 0 || options_.top_k == 1) return choice;
  scratch.best.clear();
  for (std::size_t i = 0; i < static_cast<std::size_t>(options_.top_k); ++i)
    if (logits[i] >= -kMost) scratch.best.push_back({ids[i], logits[i]});
  choice.id = draw_from_best(highest, scratch);
  return choice;
}

}  // namespace krasis
