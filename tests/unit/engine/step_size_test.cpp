#include "engine/step_size.h"

#include <gtest/gtest.h>

namespace krasis {
namespace {

constexpr StepLimits kMost = {.prompt_tokens = 65536, .sequences = 8};

TEST(StepSize, HalvesWhatWasInUseAndThenTheSequences) {
  StepSize size(kMost);
  EXPECT_EQ(size.now(), kMost);
  EXPECT_TRUE(size.shrink({.prompt_tokens = 300, .sequences = 5}));
  EXPECT_EQ(size.now(), (StepLimits{.prompt_tokens = 150, .sequences = 8}));
  EXPECT_TRUE(size.shrink({.prompt_tokens = 40, .sequences = 5}));
  EXPECT_EQ(size.now(), (StepLimits{.prompt_tokens = 32, .sequences = 8}));
  EXPECT_TRUE(size.shrink({.prompt_tokens = 32, .sequences = 5}));
  EXPECT_EQ(size.now(), (StepLimits{.prompt_tokens = 32, .sequences = 2}));
  EXPECT_TRUE(size.shrink({.prompt_tokens = 0, .sequences = 2}));
  EXPECT_EQ(size.now(), (StepLimits{.prompt_tokens = 32, .sequences = 1}));
}

TEST(StepSize, TriesTheSmallestStepAFewTimes) {
  StepSize size(kMost);
  const StepLimits smallest = {.prompt_tokens = 0, .sequences = 1};
  for (int request = 0; request < 2; ++request) {
    for (int i = 1; i < StepSize::kTries; ++i) EXPECT_TRUE(size.shrink(smallest));
    EXPECT_FALSE(size.shrink(smallest));
  }
  EXPECT_TRUE(size.shrink(smallest));
  size.token_came();
  for (int i = 1; i < StepSize::kTries; ++i) EXPECT_TRUE(size.shrink(smallest));
}

TEST(StepSize, TakesMorePatienceEachTimeThatItGrewTooEarly) {
  StepSize size(kMost);
  EXPECT_FALSE(size.grow(false)) << "it never shrank";
  for (const int patience : {1, 2, 4, 8, 16, 32, 64, 64}) {
    for (int halvings = 0; halvings < 3; ++halvings)
      EXPECT_TRUE(size.shrink({.prompt_tokens = 1000, .sequences = 1}));
    for (int request = 0; request < patience; ++request) {
      EXPECT_FALSE(size.grow(false)) << request << " of " << patience;
      size.request_went_well();
    }
    EXPECT_TRUE(size.grow(false));
    EXPECT_EQ(size.now(), kMost);
    EXPECT_FALSE(size.grow(false));
  }
}

TEST(StepSize, WaitsLongerWhileAPromptIsHalfRead) {
  StepSize size(kMost);
  EXPECT_TRUE(size.shrink({.prompt_tokens = 1000, .sequences = 1}));
  for (int request = 0; request < 8; ++request) {
    EXPECT_FALSE(size.grow(true)) << request;
    size.request_went_well();
  }
  EXPECT_TRUE(size.grow(true));
}

}  // namespace
}  // namespace krasis
