#include "residency/hot_experts.h"

#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <numeric>
#include <random>
#include <set>

#include "base/error.h"

namespace krasis {
namespace {

using Swap = HotExperts::Swap;

const std::vector<std::int64_t> kTwoLayers = {3, 2};

TEST(HotExperts, AChoiceCountsHalfAfterTheHalfLife) {
  HotExperts hot(kTwoLayers);
  hot.observe(std::vector<std::uint32_t>{8, 0, 2, 0, 0}, 1);
  EXPECT_EQ(hot.heat(), (std::vector<float>{8, 0, 2, 0, 0}));
  hot.observe(std::vector<std::uint32_t>{0, 0, 4, 0, 0}, 512);
  EXPECT_EQ(hot.heat(), (std::vector<float>{4, 0, 5, 0, 0}));
}

TEST(HotExperts, ALongPromptCountsNoMoreThanItsLastTokensWould) {
  HotExperts hot(kTwoLayers);
  hot.observe(std::vector<std::uint32_t>{5120, 0, 0, 0, 100}, 5120);
  EXPECT_EQ(hot.heat(), (std::vector<float>{512, 0, 0, 0, 10}));
}

TEST(HotExperts, NothingObservedIsNothingChanged) {
  HotExperts hot(kTwoLayers);
  hot.observe(std::vector<std::uint32_t>{1, 0, 0, 0, 0}, 1);
  hot.observe(std::vector<std::uint32_t>(5), 0);
  EXPECT_EQ(hot.heat(), (std::vector<float>{1, 0, 0, 0, 0}));
}

TEST(HotExperts, TheHottestOthersComeInForTheColdestResidentsOfAnyLayer) {
  HotExperts hot(kTwoLayers);
  hot.observe(std::vector<std::uint32_t>{9, 30, 1, 40, 0}, 1);
  const std::vector<std::uint8_t> resident = {1, 0, 1, 0, 1};
  EXPECT_EQ(hot.swaps(resident, 10), (std::vector<Swap>{{3, 4}, {1, 2}}));
  EXPECT_EQ(hot.swaps(resident, 1), (std::vector<Swap>{{3, 4}}));
}

TEST(HotExperts, WhatIsOnItsWayStaysWhatItIs) {
  HotExperts hot(kTwoLayers);
  hot.observe(std::vector<std::uint32_t>{0, 30, 0, 40, 0}, 1);
  EXPECT_EQ(hot.swaps(std::vector<std::uint8_t>{2, 0, 1, 2, 2}, 10), (std::vector<Swap>{{1, 2}}));
}

TEST(HotExperts, ASmallAdvantageIsNotWorthACopy) {
  HotExperts hot(kTwoLayers);
  const std::vector<std::uint8_t> resident = {1, 0, 0, 0, 0};
  hot.observe(std::vector<std::uint32_t>{8, 24, 0, 0, 0}, 1);  // 4 deviations: 4 sqrt(32 / 2)
  EXPECT_TRUE(hot.swaps(resident, 10).empty());
  hot.observe(std::vector<std::uint32_t>{0, 1, 0, 0, 0}, 1);
  EXPECT_EQ(hot.swaps(resident, 10), (std::vector<Swap>{{1, 0}}));
}

// Six thousand of 24,576 experts, ten of every layer's 512 chosen evenly: nobody is more popular.
TEST(HotExperts, ChanceBringsHardlyAnybodyIn) {
  const std::vector<std::int64_t> layers(48, 512);
  HotExperts hot(layers);
  std::mt19937 random(7);
  std::vector<std::uint8_t> resident(48 * 512);
  for (std::size_t e = 0; e < resident.size(); e += 4) resident[e] = 1;
  std::size_t swaps = 0;
  for (int look = 0; look < 60; ++look) {
    std::vector<std::uint32_t> counts(resident.size());
    for (std::size_t choice = 0; choice < 32 * 10 * 48; ++choice)
      ++counts[choice % 48 * 512 + random() % 512];
    hot.observe(counts, 32);
    for (const auto& [in, out] : hot.swaps(resident, 512)) {
      std::swap(resident[in], resident[out]);
      ++swaps;
    }
  }
  EXPECT_LE(swaps, 60 * 16U);  // of 6144 residents
}

TEST(HotExperts, WithoutRoomOrWithRoomForAllThereAreNoSwaps) {
  HotExperts hot(kTwoLayers);
  hot.observe(std::vector<std::uint32_t>{1, 20, 3, 40, 5}, 1);
  EXPECT_TRUE(hot.swaps(std::vector<std::uint8_t>(5, 0), 10).empty());
  EXPECT_TRUE(hot.swaps(std::vector<std::uint8_t>(5, 1), 10).empty());
}

TEST(HotExperts, EqualHeatIsDecidedByTheNumber) {
  HotExperts hot(std::vector<std::int64_t>{6});
  hot.observe(std::vector<std::uint32_t>{0, 9, 0, 9, 9, 0}, 1);
  EXPECT_EQ(hot.swaps(std::vector<std::uint8_t>{1, 0, 1, 0, 0, 1}, 2),
            (std::vector<Swap>{{1, 0}, {3, 2}}));
}

// A hundred experts of which twenty are chosen nine times of ten: after some hundred tokens nearly
// all residents are among them, and when others become popular, these come in.
TEST(HotExperts, FollowsWhatIsPopular) {
  constexpr std::size_t kExperts = 100, kPopular = 20;
  HotExperts hot(std::vector<std::int64_t>{kExperts});
  std::mt19937 random(3);
  std::vector<std::uint8_t> resident(kExperts);
  std::fill_n(resident.begin() + 40, kPopular, std::uint8_t{1});
  for (const std::size_t first : {std::size_t{0}, std::size_t{70}}) {
    for (int look = 0; look < 80; ++look) {
      std::vector<std::uint32_t> counts(kExperts);
      for (int choice = 0; choice < 32 * 8; ++choice)
        ++counts[random() % 10 != 0 ? first + random() % kPopular : random() % kExperts];
      hot.observe(counts, 32);
      for (const auto& [in, out] : hot.swaps(resident, 4)) {
        ASSERT_EQ(resident[in], 0);
        ASSERT_EQ(resident[out], 1);
        std::swap(resident[in], resident[out]);
      }
    }
    EXPECT_GE(std::accumulate(resident.begin() + static_cast<std::ptrdiff_t>(first),
                              resident.begin() + static_cast<std::ptrdiff_t>(first + kPopular), 0),
              19);
  }
}

TEST(HotExperts, HeatIsRememberedAndGivenBack) {
  HotExperts hot(kTwoLayers), again(kTwoLayers);
  hot.observe(std::vector<std::uint32_t>{8, 0, 2, 0, 0}, 1);
  again.set_heat(hot.heat());
  EXPECT_EQ(again.heat(), hot.heat());
}

TEST(HotExperts, RefusesHeatThatIsNone) {
  HotExperts hot(kTwoLayers);
  for (const std::vector<float>& heat :
       {std::vector<float>(4), std::vector<float>{0, 1, -1, 0, 0},
        std::vector<float>{0, std::numeric_limits<float>::quiet_NaN(), 0, 0, 0}}) {
    try {
      hot.set_heat(heat);
      FAIL() << "nothing was thrown";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::InvalidArgument);
      EXPECT_EQ(std::string(error.what()), "residency: the heat of " + std::to_string(heat.size()) +
                                               " experts is not that of this model's 5");
    }
  }
  EXPECT_EQ(hot.heat(), std::vector<float>(5));
}

}  // namespace
}  // namespace krasis
