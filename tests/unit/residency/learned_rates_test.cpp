#include "residency/learned_rates.h"

#include <gtest/gtest.h>

namespace krasis {
namespace {

constexpr double kGiga = 1e9;

ExpertPlacement measured(double link, double processor, double memory) {
  return {.link_rate = link * kGiga,
          .processor_rate = processor * kGiga,
          .processor_token_seconds = 1e-6,
          .memory_rate = memory * kGiga};
}

TEST(MovingRate, BeginsWithWhatWasMeasured) {
  EXPECT_EQ(MovingRate(50, 100).rate(), 50);
  EXPECT_FALSE(MovingRate(50, 100).observed());
}

TEST(MovingRate, IsTheRateThatIsObservedAfterAFewTimesItsMemory) {
  MovingRate rate(50, 100);
  for (int i = 0; i < 40; ++i) rate.observe(10, 10.0 / 120);
  EXPECT_NEAR(rate.rate(), 120, 15);  // within an eighth
}

TEST(MovingRate, FallsAsItRises) {
  MovingRate rate(120, 100);
  for (int i = 0; i < 40; ++i) rate.observe(10, 10.0 / 50);
  EXPECT_NEAR(rate.rate(), 50, 6.25);
}

TEST(MovingRate, StaysWhereItIsWhileLittleChanges) {
  MovingRate rate(100, 100);
  for (int i = 0; i < 1000; ++i) rate.observe(10, 10.0 / (i % 2 == 0 ? 98 : 102));
  EXPECT_EQ(rate.rate(), 100);
}

TEST(MovingRate, OneObservationThatIsFarOffChangesLittle) {
  MovingRate rate(100, 100);
  for (int i = 0; i < 20; ++i) rate.observe(10, 0.1);
  rate.observe(10, 60);  // a thread that was not run for a minute
  for (int i = 0; i < 3; ++i) rate.observe(10, 0.1);
  EXPECT_GT(rate.rate(), 75);
}

TEST(MovingRate, WhatIsNotKnownIsLearnedFromTheFirstObservation) {
  MovingRate rate(0, 100);
  EXPECT_EQ(rate.rate(), 0);
  rate.observe(10, 0.5);
  EXPECT_EQ(rate.rate(), 20);
}

TEST(MovingRate, NothingInNoTimeIsNotAnObservation) {
  MovingRate rate(50, 100);
  rate.observe(0, 1);
  rate.observe(1, 0);
  rate.observe(1, -1);
  EXPECT_EQ(rate.rate(), 50);
  EXPECT_FALSE(rate.observed());
}

TEST(LearnedRates, PromptsStopGoingByTheRatesOfAColdMachine) {
  LearnedRates rates(measured(55, 55, 55));
  for (int step = 0; step < 40; ++step) {
    rates.observe_processor(0.5 * kGiga, 0.5 / 100 + 48 * 12e-6, 48);
    rates.observe_link(0.2 * kGiga, 0.2 / 40);
  }
  const ExpertPlacement now = rates.for_prompts();
  EXPECT_NEAR(now.processor_rate, 100 * kGiga, 12.5 * kGiga);
  EXPECT_NEAR(now.memory_rate, 140 * kGiga, 17.5 * kGiga);
  EXPECT_EQ(now.link_rate, 55 * kGiga);  // of copies
}

TEST(LearnedRates, APromptThatTakesTwiceTheTimeIsExpectedToTakeItNextTime) {
  LearnedRates rates(measured(55, 100, 150));
  for (int prompt = 0; prompt < 10; ++prompt) {
    // All layers of a prompt are predicted before the first one runs.
    const double factor = rates.prompt_factor();
    for (int layer = 0; layer < 94; ++layer) rates.observe_prompt(0.01, 0.005 / factor, factor);
    rates.end_prompt();
    EXPECT_NEAR(rates.prompt_factor(), 0.5, 0.0625) << "after prompt " << prompt;
  }
  const ExpertPlacement now = rates.for_prompts();
  EXPECT_NEAR(now.processor_rate, 50 * kGiga, 6.25 * kGiga);
  EXPECT_NEAR(now.processor_token_seconds, 2e-6, 0.25e-6);
  EXPECT_NEAR(rates.step_costs(1000).processor, 1000 / (100 * kGiga), 1e-12);  // not of prompts
}

TEST(LearnedRates, WhatPromptsShowedIsForgottenByPromptsThatShowNothing) {
  LearnedRates rates(measured(55, 100, 150));
  for (int layer = 0; layer < 94; ++layer) rates.observe_prompt(0.04, 0.01, 1);
  rates.end_prompt();
  EXPECT_LT(rates.prompt_factor(), 0.3);
  for (int prompt = 0; prompt < 12; ++prompt) rates.end_prompt();
  EXPECT_GT(rates.prompt_factor(), 0.8);
}

TEST(LearnedRates, WithoutAdaptingTheyStay) {
  ExpertPlacement placement = measured(55, 50, 60);
  placement.adaptive = false;
  LearnedRates rates(placement);
  for (int i = 0; i < 100; ++i) {
    rates.observe_processor(kGiga, 0.001, 1);
    rates.observe_link(kGiga, 0.001);
    rates.observe_prompt(1, 0.1, 1);
    rates.end_prompt();
  }
  EXPECT_EQ(rates.for_prompts().processor_rate, 50 * kGiga);
  EXPECT_EQ(rates.for_prompts().memory_rate, 60 * kGiga);
  EXPECT_EQ(rates.step_costs(55).link, 1 / kGiga);
}

TEST(LearnedRates, WhatMemoryGivesStaysUnknownUntilSteps) {
  const ExpertPlacement placement = measured(55, 50, 0);
  LearnedRates rates(placement);
  rates.observe_processor(kGiga, 1 / 50., 1);
  EXPECT_EQ(rates.for_prompts().memory_rate, 0);
  rates.observe_link(kGiga, 1 / 55.);
  EXPECT_NEAR(rates.for_prompts().memory_rate, 105 * kGiga, kGiga);
}

// The later end of both, for comparison.
double end_of(int by_link, int missing, const StepCosts& costs) {
  const int left = missing - by_link;
  return std::max(by_link * costs.link,
                  left == 0 ? 0 : costs.processor_start + left * costs.processor);
}

TEST(ExpertsByLink, NoOtherNumberEndsMuchEarlier) {
  for (const double link : {1.0, 0.4, 2.0, 3.7, 20.0}) {
    for (const double start : {0.0, 0.8, 5.0}) {
      const StepCosts costs{.link = link, .processor = 1, .processor_start = start};
      for (int missing = 0; missing <= 40; ++missing) {
        const int chosen = experts_by_link(missing, costs);
        ASSERT_GE(chosen, 0);
        ASSERT_LE(chosen, missing);
        for (int other = 0; other <= missing; ++other)
          ASSERT_LE(0.9 * end_of(chosen, missing, costs), end_of(other, missing, costs) + 1e-12)
              << missing << " missing, " << chosen << " chosen, " << other;
      }
    }
  }
}

TEST(ExpertsByLink, WithoutRatesTheProcessorDoesAll) {
  EXPECT_EQ(experts_by_link(10, {.link = 0, .processor = 1}), 0);
  EXPECT_EQ(experts_by_link(10, {.link = 1, .processor = 0}), 0);
}

}  // namespace
}  // namespace krasis
