#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <limits>

#include "base/error.h"
#include "ops/ops.h"

namespace krasis {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<float> some_logits(std::size_t count, std::uint64_t seed) {
  RandomBits random(seed);
  std::normal_distribution<float> normal(0, 2);
  std::vector<float> logits(count);
  for (float& logit : logits) logit = normal(random);
  return logits;
}

Choice sample_once(const SamplingOptions& options, std::vector<float> logits,
                   std::uint64_t seed = 1) {
  SamplerScratch scratch;
  return Sampler(options, seed, {}).sample(logits, scratch);
}

std::string failure(std::vector<float> logits) {
  try {
    sample_once({}, std::move(logits));
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

std::string refusal(const SamplingOptions& options) {
  try {
    check(options, 100);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

// The probabilities that the options promise, by sorting everything, in double.
std::vector<double> expected_probabilities(const std::vector<float>& logits,
                                           const SamplingOptions& options) {
  std::vector<std::size_t> order(logits.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::ranges::stable_sort(order, [&](auto a, auto b) { return logits[a] > logits[b]; });
  if (options.top_k > 0)
    order.resize(std::min(order.size(), static_cast<std::size_t>(options.top_k)));
  const auto weight = [&](std::size_t id) {
    return std::exp((static_cast<double>(logits[id]) - logits[order[0]]) / options.temperature);
  };
  double total = 0, before = 0, kept = 0;
  for (const auto id : order) total += weight(id);
  std::vector<double> probabilities(logits.size());
  for (const auto id : order) {
    if (before < options.top_p * total && weight(id) >= options.min_p)
      kept += probabilities[id] = weight(id);
    before += weight(id);
  }
  for (double& probability : probabilities) probability /= kept;
  return probabilities;
}

// Chi-square of `draws` samples against the promise. With k classes the statistic has mean k - 1
// and variance 2 (k - 1); the bound is mean + 6 deviations, which one run in 10^6 or fewer exceeds
// (the seeds are fixed, so it is the same run every time). Classes expected less than 10 times are
// put together.
void expect_distribution(const SamplingOptions& options, const std::vector<float>& logits) {
  constexpr int kDraws = 40000;
  const auto probabilities = expected_probabilities(logits, options);
  std::vector<int> drawn(logits.size());
  SamplerScratch scratch;
  Sampler sampler(options, 11, {});
  for (int i = 0; i < kDraws; ++i) {
    auto copy = logits;
    ++drawn[static_cast<std::size_t>(sampler.sample(copy, scratch).id)];
  }
  double statistic = 0, classes = 0, rest_expected = 0, rest_drawn = 0;
  for (std::size_t id = 0; id < logits.size(); ++id) {
    const double expected = probabilities[id] * kDraws;
    if (expected == 0) {
      EXPECT_EQ(drawn[id], 0) << "token " << id << " may not be drawn";
    } else if (expected < 10) {
      rest_expected += expected;
      rest_drawn += drawn[id];
    } else {
      statistic += (drawn[id] - expected) * (drawn[id] - expected) / expected;
      ++classes;
    }
  }
  if (rest_expected > 0) {
    statistic += (rest_drawn - rest_expected) * (rest_drawn - rest_expected) / rest_expected;
    ++classes;
  }
  EXPECT_LT(statistic, classes - 1 + 6 * std::sqrt(2 * (classes - 1)) + 1e-9);
}

TEST(Sampler, DrawsFromTheSoftmax) {
  expect_distribution({}, some_logits(300, 2));
}

TEST(Sampler, DrawsFromTheSoftmaxAtATemperature) {
  expect_distribution({.temperature = 0.6F}, some_logits(300, 3));
  expect_distribution({.temperature = 1.8F}, some_logits(300, 4));
}

TEST(Sampler, DrawsFromTheTopK) {
  expect_distribution({.top_k = 5}, some_logits(300, 5));
  expect_distribution({.top_k = 299}, some_logits(300, 5));
  expect_distribution({.top_k = 1000}, some_logits(300, 5));
}

TEST(Sampler, DrawsFromTheNucleusOfTheTopKAboveMinP) {
  expect_distribution({.top_p = 0.8F}, some_logits(300, 6));
  expect_distribution({.min_p = 0.05F}, some_logits(300, 6));
  expect_distribution({.temperature = 0.8F, .top_p = 0.9F, .min_p = 0.02F, .top_k = 40},
                      some_logits(300, 7));
}

TEST(Sampler, GreedyTakesTheLowestIdAmongEquals) {
  EXPECT_EQ(sample_once({.temperature = 0}, {1, 5, 5, 2}).id, 1);
  EXPECT_EQ(sample_once({.top_k = 1}, {1, 5, 5, 2}).id, 1);
  EXPECT_EQ(sample_once({.temperature = 0}, {-kInfinity, -1e30F, -kInfinity}).id, 1);
}

// Samples from whole rows and from their highest logits.
void expect_same_from_the_best(const SamplingOptions& options, int steps) {
  Sampler whole(options, 5, {}), best(options, 5, {});
  const auto ops = make_reference_ops();
  SamplerScratch scratch;
  for (int i = 0; i < steps; ++i) {
    auto logits = some_logits(500, static_cast<unsigned>(i));
    if (i % 2 == 1)
      for (float& logit : logits) logit = std::round(logit);  // ties
    if (i % 3 == 2) std::fill(logits.begin() + 7, logits.end(), -kInfinity);
    std::vector<std::int32_t> ids(static_cast<std::size_t>(best.best_needed(500) + 2));
    std::vector<float> values(ids.size());
    ops->top_logits({.logits = {logits.data(), 1, 500},
                     .count = std::ssize(ids),
                     .ids = ids,
                     .values = values});
    ASSERT_EQ(best.sample_best(ids, values, scratch).id, whole.sample(logits, scratch).id) << i;
  }
}

TEST(Sampler, ChoosesTheSameFromTheHighestLogitsAlone) {
  expect_same_from_the_best({.temperature = 0}, 60);
  expect_same_from_the_best({.temperature = 0.7F, .top_k = 1}, 60);
  expect_same_from_the_best({.temperature = 1.5F, .top_k = 20}, 300);
  expect_same_from_the_best({.temperature = 0.8F, .top_p = 0.9F, .min_p = 0.02F, .top_k = 40}, 300);
}

TEST(Sampler, SaysHowManyOfTheHighestLogitsItNeeds) {
  const auto needed = [](const SamplingOptions& options) {
    return Sampler(options, 1, {}).best_needed(100);
  };
  EXPECT_EQ(needed({.temperature = 0}), 1);
  EXPECT_EQ(needed({.top_k = 64}), 64);
  EXPECT_EQ(needed({.top_k = 65}), 0);
  EXPECT_EQ(needed({.top_k = 0}), 0);
  EXPECT_EQ(Sampler({.top_k = 20}, 1, {}).best_needed(20), 0);
  EXPECT_EQ(needed({.temperature = 0, .presence_penalty = 1}), 0);
  EXPECT_EQ(needed({.temperature = 0, .frequency_penalty = 1}), 0);
  EXPECT_EQ(needed({.temperature = 0, .repetition_penalty = 1.1F}), 0);
  EXPECT_EQ(needed({.temperature = 0, .logit_bias = {{3, 1}}}), 0);
  EXPECT_EQ(needed({.temperature = 0, .logprobs = true}), 0);
}

TEST(Sampler, RefusesHighestLogitsThatAreNoNumbers) {
  const auto failure_of = [](float logit) -> std::string {
    SamplerScratch scratch;
    const std::int32_t id = 7;
    try {
      Sampler({.temperature = 0}, 1, {}).sample_best({&id, 1}, {&logit, 1}, scratch);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  const std::string damaged = "; the model's weights or a kernel are damaged";
  EXPECT_EQ(failure_of(std::nanf("")), "sampling: the logit of token 7 is nan" + damaged);
  EXPECT_EQ(failure_of(kInfinity), "sampling: the logit of token 7 is inf" + damaged);
  EXPECT_EQ(failure_of(-kInfinity), "sampling: every logit is -inf, no token can be chosen");
}

TEST(Sampler, RepeatsItselfFromTheSameSeed) {
  SamplerScratch scratch;
  const auto run = [&](std::uint64_t seed) {
    Sampler sampler({.temperature = 1.2F, .top_p = 0.95F}, seed, {});
    std::vector<std::int32_t> ids;
    for (std::uint64_t i = 0; i < 50; ++i) {
      auto logits = some_logits(1000, i);
      ids.push_back(sampler.sample(logits, scratch).id);
    }
    return ids;
  };
  EXPECT_EQ(run(9), run(9));
  EXPECT_NE(run(9), run(10));
}

TEST(Sampler, RefusesLogitsThatAreNoNumbers) {
  const std::string damaged = "; the model's weights or a kernel are damaged";
  EXPECT_EQ(failure({0, std::nanf(""), 1}), "sampling: the logit of token 1 is nan" + damaged);
  EXPECT_EQ(failure({0, 1, kInfinity}), "sampling: the logit of token 2 is inf" + damaged);
  EXPECT_EQ(failure({-kInfinity, -kInfinity}),
            "sampling: every logit is -inf, no token can be chosen");
}

TEST(Sampler, AppliesPenaltiesAndBiasByTheirFormula) {
  // Tokens 0 and 1 are in the prompt, 1 (twice) and 2 (once) are generated; top_logprobs then show
  // the adjusted logits less a common constant.
  const std::vector<std::int32_t> prompt{0, 1};
  SamplingOptions options{.temperature = 0,
                          .presence_penalty = 0.5F,
                          .frequency_penalty = 0.25F,
                          .repetition_penalty = 2,
                          .logit_bias = {{3, -1.5F}, {4, 1.5F}},
                          .logprobs = true,
                          .top_logprobs = 5};
  Sampler sampler(options, 1, prompt);
  SamplerScratch scratch;
  for (const std::size_t forced : {1U, 1U, 2U}) {
    std::vector<float> logits(5, -50);
    logits[forced] = 50;
    ASSERT_EQ(sampler.sample(logits, scratch).id, static_cast<std::int32_t>(forced));
  }
  std::vector<float> logits{4, 4, -4, 4, 0};
  const Choice choice = sampler.sample(logits, scratch);
  const std::vector<double> adjusted{4 / 2.0, 4 / 2.0 - 0.5 - 2 * 0.25, -4 * 2.0 - 0.5 - 0.25,
                                     4 - 1.5, 0 + 1.5};
  double total = 0;
  for (const double logit : adjusted) total += std::exp(logit);
  EXPECT_EQ(choice.id, 3);
  ASSERT_EQ(choice.top_logprobs.size(), 5U);
  for (const TokenLogprob& token : choice.top_logprobs) {
    // 2e-6: the weights' own relative error of 1e-6 and rounding to float at a size of 11.
    EXPECT_NEAR(token.logprob, adjusted[static_cast<std::size_t>(token.id)] - std::log(total),
                3e-6);
  }
}

TEST(Sampler, ReportsLogprobsOfTheModelsOwnDistribution) {
  const auto logits = some_logits(5000, 8);
  const Choice choice =
      sample_once({.temperature = 0.3F, .top_k = 3, .logprobs = true, .top_logprobs = 20}, logits);
  double total = 0;
  for (const float logit : logits) total += std::exp(static_cast<double>(logit));
  const auto expected = [&](std::int32_t id) {
    return logits[static_cast<std::size_t>(id)] - std::log(total);
  };
  EXPECT_NEAR(choice.chosen.logprob, expected(choice.id), 3e-6);
  EXPECT_EQ(choice.chosen.id, choice.id);
  auto sorted = logits;
  std::ranges::sort(sorted, std::greater<>());
  ASSERT_EQ(choice.top_logprobs.size(), 20U);
  for (std::size_t i = 0; i < 20; ++i) {
    EXPECT_EQ(logits[static_cast<std::size_t>(choice.top_logprobs[i].id)], sorted[i]);
    EXPECT_NEAR(choice.top_logprobs[i].logprob, expected(choice.top_logprobs[i].id), 3e-6);
  }
}

TEST(Sampler, OptionsOutOfRangeAreRefusedByName) {
  EXPECT_EQ(refusal({}), "");
  EXPECT_EQ(refusal({.temperature = -1}), "sampling: temperature is -1, choose 0 to 100");
  EXPECT_EQ(refusal({.temperature = std::nanf("")}),
            "sampling: temperature is nan, choose 0 to 100");
  EXPECT_EQ(refusal({.top_p = 0}), "sampling: top_p is 0, choose above 0, up to 1");
  EXPECT_EQ(refusal({.min_p = 2}), "sampling: min_p is 2, choose 0 to 1");
  EXPECT_EQ(refusal({.top_k = -1}),
            "sampling: top_k is -1, choose a positive number, or 0 for all");
  EXPECT_EQ(refusal({.presence_penalty = 3}), "sampling: presence_penalty is 3, choose -2 to 2");
  EXPECT_EQ(refusal({.frequency_penalty = -3}),
            "sampling: frequency_penalty is -3, choose -2 to 2");
  EXPECT_EQ(refusal({.repetition_penalty = 0}),
            "sampling: repetition_penalty is 0, choose above 0, up to 100");
  EXPECT_EQ(refusal({.logit_bias = {{100, 1}}}),
            "sampling: logit_bias names token 100, the vocabulary has 100");
  EXPECT_EQ(refusal({.top_logprobs = 21}), "sampling: top_logprobs is 21, choose 0 to 20");
}

}  // namespace
}  // namespace krasis
