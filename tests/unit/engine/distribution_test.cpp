#include "engine/distribution.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <limits>

namespace krasis {
namespace {

std::vector<float> spread_logits(std::size_t count, float spread) {
  RandomBits random(7);
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> logits(count);
  for (float& logit : logits) logit = normal(random);
  return logits;
}

TEST(Distribution, TotalIsTheSoftmaxDenominatorToSixDigits) {
  for (const float spread : {0.0F, 0.1F, 3.0F, 30.0F, 300.0F}) {
    const auto logits = spread_logits(10007, spread);
    const float highest = *std::max_element(logits.begin(), logits.end());
    double expected = 0;
    for (const float logit : logits)
      expected += std::exp((static_cast<double>(logit) - highest) / 0.7);
    Distribution distribution;
    distribution.assign(logits, highest, 0.7F);
    // (l - highest) / 0.7 is rounded to float: relative 2^-23 of an exponent up to 87 where the
    // weight still counts (e^-16 and less adds nothing at this precision): 16 * 2^-23 = 2e-6.
    EXPECT_NEAR(distribution.total() / expected, 1, 3e-6) << "spread " << spread;
  }
}

TEST(Distribution, NeverDrawsAnImpossibleValue) {
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  std::vector<float> logits(1000, kNone);
  logits[3] = 0;
  logits[700] = -1;
  Distribution distribution;
  RandomBits random(1);
  for (int i = 0; i < 1000; ++i) {
    distribution.assign(logits, 0, 1);
    const std::size_t index = distribution.draw(1, 0, random);
    EXPECT_TRUE(index == 3 || index == 700) << index;
  }
}

TEST(Distribution, DrawsOnlyTheBestWhereTheTemperatureIsNearlyZero) {
  const std::vector<float> logits{1, 2, 2, 1.9999F};
  Distribution distribution;
  RandomBits random(1);
  for (const float temperature : {1e-6F, 1e-30F, 1e-44F}) {
    distribution.assign(logits, 2, temperature);
    const std::size_t index = distribution.draw(1, 0, random);
    EXPECT_TRUE(index == 1 || index == 2) << index;
  }
}

// The set that top_p allows, by sorting: the checker of the method that does not sort.
std::vector<bool> nucleus_by_sorting(std::span<const float> logits, double top_p) {
  std::vector<std::size_t> order(logits.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return logits[a] > logits[b]; });
  double total = 0;
  for (const float logit : logits) total += std::exp(static_cast<double>(logit));
  std::vector<bool> inside(logits.size());
  double before = 0;
  for (const std::size_t index : order) {
    inside[index] = before < top_p * total;
    before += std::exp(static_cast<double>(logits[index]));
  }
  return inside;
}

TEST(Distribution, DrawsFromExactlyTheNucleus) {
  auto logits = spread_logits(40, 1.5F);
  logits[20] = logits[21] = logits[22];  // equal ones: the lower index is first
  const float highest = *std::max_element(logits.begin(), logits.end());
  Distribution distribution;
  RandomBits random(5);
  for (const double top_p : {0.05, 0.3, 0.5, 0.9, 0.99}) {
    const auto inside = nucleus_by_sorting(logits, top_p);
    std::vector<int> drawn(logits.size());
    for (int i = 0; i < 20000; ++i) {
      distribution.assign(logits, highest, 1);
      ++drawn[distribution.draw(top_p, 0, random)];
    }
    for (std::size_t i = 0; i < logits.size(); ++i) {
      // The least likely one inside has a probability of 0.2 %: (1 - 0.002)^20000 is 4e-18.
      EXPECT_EQ(drawn[i] > 0, static_cast<bool>(inside[i])) << "top_p " << top_p << " index " << i;
    }
  }
}

TEST(Distribution, LeavesOutWhatMinPForbids) {
  const std::vector<float> logits{0, std::log(0.5F), std::log(0.11F), std::log(0.09F)};
  Distribution distribution;
  RandomBits random(5);
  std::vector<int> drawn(4);
  for (int i = 0; i < 5000; ++i) {
    distribution.assign(logits, 0, 1);
    ++drawn[distribution.draw(1, 0.1F, random)];
  }
  EXPECT_GT(drawn[2], 0);
  EXPECT_EQ(drawn[3], 0);
}

}  // namespace
}  // namespace krasis
