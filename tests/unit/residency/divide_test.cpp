#include "residency/divide.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <numeric>
#include <random>
#include <vector>

namespace krasis {
namespace {

// An expert takes the link 30 and the processor 16 microseconds, from 16 tokens on 1 a token.
constexpr WayCosts kCosts{.copy = 30e-6,
                          .link_busy = 0,
                          .after_copies = 0,
                          .processor = 16e-6,
                          .processor_beside = 16e-6,
                          .processor_token = 1e-6,
                          .processor_start = 0};

std::vector<Way> ways_of(const std::vector<std::int32_t>& tokens, std::vector<Way> ways,
                         const WayCosts& costs = kCosts, AllowedWays allowed = {}) {
  divide(tokens, costs, allowed, ways);
  return ways;
}

std::size_t count(const std::vector<Way>& ways, Way way) {
  return static_cast<std::size_t>(std::ranges::count(ways, way));
}

TEST(Divide, TheProcessorsPartIsWhatItReadsOrComputes) {
  using enum Way;
  EXPECT_NEAR(
      processor_seconds(std::vector{1, 40, 5}, std::vector{Processor, Processor, Resident}, kCosts),
      56e-6, 1e-9);
  // While the link is busy with two experts for 60, reading takes twice as long.
  WayCosts costs = kCosts;
  costs.processor_beside = 32e-6;
  const std::vector<std::int32_t> tokens(6, 1);
  EXPECT_NEAR(
      processor_seconds(tokens, std::vector{Copy, Copy, Processor, None, None, None}, costs), 32e-6,
      1e-9);
  EXPECT_NEAR(processor_seconds(
                  tokens, std::vector{Copy, Copy, Processor, Processor, Processor, None}, costs),
              60e-6 + 18e-6, 1e-9);
}

TEST(Divide, LeavesResidentExpertsWhereTheyAre) {
  EXPECT_EQ(ways_of({5, 0, 0, 7}, {Way::Resident, Way::Resident, Way::None, Way::Resident}),
            (std::vector<Way>{Way::Resident, Way::None, Way::None, Way::Resident}));
}

TEST(Divide, GivesOneMissingExpertToTheQuickerSide) {
  EXPECT_EQ(ways_of({1}, {Way::None}), std::vector<Way>{Way::Processor});
  EXPECT_EQ(ways_of({100}, {Way::None}), std::vector<Way>{Way::Copy});
}

TEST(Divide, CopiesTheExpertsWithTheMostTokens) {
  const std::vector<Way> ways = ways_of({2, 45, 3, 60, 1, 50}, std::vector<Way>(6, Way::None));
  EXPECT_EQ(ways, (std::vector<Way>{Way::Processor, Way::Copy, Way::Processor, Way::Copy,
                                    Way::Processor, Way::Copy}));
}

// 384 experts of 18 tokens: n copies take 30 n, the others 18 (384 - n): equal at n = 144.
TEST(Divide, EndsBothSidesTogether) {
  const std::vector<std::int32_t> tokens(384, 18);
  std::vector<Way> ways(384, Way::None);
  EXPECT_NEAR(divide(tokens, kCosts, {}, ways), 144 * 30e-6, 1e-9);
  EXPECT_EQ(count(ways, Way::Copy), 144U);
  // Equal counts: the lower numbers are copied.
  EXPECT_EQ(std::ranges::find(ways, Way::Processor) - ways.begin(), 144);
}

TEST(Divide, CountsWhatTheLinkTakesFromTheProcessor) {
  WayCosts costs = kCosts;
  costs.processor_beside = 2 * costs.processor;
  const std::vector<std::int32_t> tokens(100, 1);
  std::vector<Way> ways(100, Way::None);
  const double end = divide(tokens, costs, {}, ways);
  // n copies: 30 n + (1 - 30 n / (32 (100 - n))) * 16 (100 - n) is least where both end together.
  EXPECT_EQ(count(ways, Way::Copy), 51U);
  EXPECT_NEAR(end, 52 * 30e-6, 30e-6);
}

// 34 copies' time is gone already: 30 n + 30 * 34 = 18 (384 - n) at n = 122.75.
TEST(Divide, CopiesLessOverALinkThatIsBusy) {
  WayCosts costs = kCosts;
  costs.link_busy = 34 * costs.copy;
  const std::vector<std::int32_t> tokens(384, 18);
  std::vector<Way> ways(384, Way::None);
  divide(tokens, costs, {}, ways);
  EXPECT_NEAR(static_cast<double>(count(ways, Way::Copy)), 122.75, 1);
}

TEST(Divide, UsesOnlyWhatIsAllowed) {
  const std::vector<std::int32_t> tokens = {1, 100, 3};
  const std::vector<Way> none(3, Way::None);
  EXPECT_EQ(ways_of(tokens, none, kCosts, {.copy = false}), std::vector<Way>(3, Way::Processor));
  EXPECT_EQ(ways_of(tokens, none, kCosts, {.processor = false}), std::vector<Way>(3, Way::Copy));
}

// Against every possible number of copies, with random tokens and costs.
TEST(Divide, FindsTheEarliestEnd) {
  std::mt19937 random(1);
  for (int round = 0; round < 50; ++round) {
    std::vector<std::int32_t> tokens(20);
    for (std::int32_t& t : tokens) t = static_cast<std::int32_t>(random() % 64);
    WayCosts costs = kCosts;
    costs.copy = 1e-6 * static_cast<double>(random() % 50 + 1);
    costs.after_copies = 1e-6 * static_cast<double>(random() % 50);
    costs.processor_start = 1e-6 * static_cast<double>(random() % 50);
    std::vector<Way> ways(20, Way::None);
    const double end = divide(tokens, costs, {}, ways);

    std::vector<std::int32_t> sorted = tokens;
    std::ranges::sort(sorted, std::greater());
    std::erase(sorted, 0);
    double best = 1;
    for (std::size_t n = 0; n <= sorted.size(); ++n) {
      const double link = n == 0 ? 0 : costs.after_copies + static_cast<double>(n) * costs.copy;
      double processor = n == sorted.size() ? 0 : costs.processor_start;
      for (std::size_t i = n; i < sorted.size(); ++i)
        processor += std::max(16e-6, 1e-6 * sorted[i]);
      best = std::min(best, std::max(link, processor));
    }
    EXPECT_NEAR(end, best, 1e-9);
    EXPECT_EQ(count(ways, Way::Copy) + count(ways, Way::Processor), sorted.size());
  }
}

// This machine: an expert of 1.62 MB, 512 a layer, 48 layers, top 10.
constexpr std::size_t kExpertBytes = 1'622'016;
ExpertPlacement measured() {
  ExpertPlacement placement;
  placement.resident = 48 * 512 / 4;
  placement.link_rate = 54.6e9;
  placement.processor_rate = 100e9;
  placement.processor_token_seconds = 1.1e-6;
  placement.memory_rate = 129e9;
  return placement;
}
PromptShape prompt_of(std::int64_t tokens) {
  return {.tokens = tokens,
          .parts = (tokens + 8191) / 8192,
          .layers = 48,
          .experts = 512,
          .top_k = 10,
          .resident = 48 * 512 / 4,
          .expert_bytes = kExpertBytes};
}

TEST(AllowedWays, FollowTheThreshold) {
  ExpertPlacement placement = measured();
  for (const std::int64_t tokens : {2, 100000}) {
    EXPECT_TRUE(allowed_ways(placement, tokens).copy);
    EXPECT_TRUE(allowed_ways(placement, tokens).processor);
  }
  placement.prompt_threshold = 100;
  EXPECT_FALSE(allowed_ways(placement, 99).copy);
  EXPECT_TRUE(allowed_ways(placement, 99).processor);
  EXPECT_TRUE(allowed_ways(placement, 100).copy);
  EXPECT_FALSE(allowed_ways(placement, 100).processor);
}

TEST(AllowedWays, AreOneOrTheOtherWhereNothingWasMeasured) {
  const ExpertPlacement placement;
  EXPECT_FALSE(allowed_ways(placement, kDefaultThreshold - 1).copy);
  EXPECT_FALSE(allowed_ways(placement, kDefaultThreshold).processor);
}

TEST(AllowedWays, OfActiveOnlyNeverIncludeTheProcessor) {
  ExpertPlacement placement = measured();
  placement.mode = ExpertMode::ActiveOnly;
  placement.prompt_threshold = 1000;
  EXPECT_TRUE(allowed_ways(placement, 2).copy);
  EXPECT_FALSE(allowed_ways(placement, 2).processor);
}

TEST(WayCosts, ComeFromTheRates) {
  const WayCosts costs = way_costs(measured(), kExpertBytes);
  EXPECT_NEAR(costs.copy, 29.7e-6, 0.1e-6);
  EXPECT_NEAR(costs.processor, 16.2e-6, 0.1e-6);
  EXPECT_NEAR(costs.processor_beside, 21.8e-6, 0.1e-6);  // 129 - 54.6 GB/s are left
  EXPECT_EQ(costs.processor_token, 1.1e-6);
}

TEST(GoesByWays, ShortPromptsDoAndLongOnesDoNot) {
  const ExpertPlacement placement = measured();
  for (const std::int64_t tokens : {2, 17, 300, 933, 2000})
    EXPECT_TRUE(goes_by_ways(placement, prompt_of(tokens))) << tokens;
  for (const std::int64_t tokens : {16384, 32768})
    EXPECT_FALSE(goes_by_ways(placement, prompt_of(tokens))) << tokens;
}

TEST(GoesByWays, AsTheModeAndTheThresholdSay) {
  ExpertPlacement placement = measured();
  placement.mode = ExpertMode::ActiveOnly;
  EXPECT_TRUE(goes_by_ways(placement, prompt_of(32768)));
  placement.mode = ExpertMode::Chunked;
  EXPECT_FALSE(goes_by_ways(placement, prompt_of(2)));
  placement.mode = ExpertMode::Grouped;
  EXPECT_FALSE(goes_by_ways(placement, prompt_of(2)));
  placement.mode = ExpertMode::Auto;
  placement.prompt_threshold = 1'000'000;  // no copies: the ring would copy
  EXPECT_TRUE(goes_by_ways(placement, prompt_of(32768)));
}

TEST(Predict, KnowsTheLinksBound) {
  const PromptTimes times = predict(measured(), prompt_of(933));
  EXPECT_NEAR(times.ring, 0.75 * 48 * 512 * 29.7e-6, 0.01);
  EXPECT_LT(times.ways, 0.35);
  EXPECT_GT(times.ways, 0.2);
}

}  // namespace
}  // namespace krasis
