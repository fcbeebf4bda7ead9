#include "engine/cache_plan.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace krasis {
namespace {

constexpr CacheFacts kFacts{
    .model_context = 1000, .page_bytes = 100, .slot_bytes = 10, .free_bytes = 1'000'000};

std::string refusal(const EngineOptions& options, const CacheFacts& facts) {
  try {
    plan_cache(options, facts);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(CachePlan, HoldsAllSequencesAtTheModelsContextWhereThereIsRoom) {
  const EngineLimits limits = plan_cache({}, kFacts);
  EXPECT_EQ(limits.context_length, 1000);
  EXPECT_EQ(limits.pages, 8 * 16);  // 1000 tokens are 15.6 pages of 64
}

TEST(CachePlan, TakesAQuarterOfTheFreeMemoryAtMost) {
  CacheFacts facts = kFacts;
  facts.free_bytes = 4 * 5080;  // 80 bytes of it are for 8 slots, the rest is 50 pages
  EXPECT_EQ(plan_cache({}, facts).pages, 50);
  EXPECT_EQ(plan_cache({}, facts).context_length, 1000);
}

TEST(CachePlan, ShrinksTheModelsContextButNotOneThatWasAskedFor) {
  const EngineOptions two_pages{.cache_bytes = 200};
  EXPECT_EQ(plan_cache(two_pages, kFacts).context_length, 128);
  const EngineOptions asked{.context_length = 500, .cache_bytes = 200};
  EXPECT_EQ(refusal(asked, kFacts),
            "engine: key-value cache: 500 tokens need 800 bytes, 200 bytes are allowed; choose a "
            "smaller context length or a larger cache");
}

TEST(CachePlan, RefusesWhatDoesNotHoldOnePage) {
  EXPECT_EQ(refusal({.cache_bytes = 99}, kFacts),
            "engine: key-value cache: 64 tokens need 100 bytes, 99 bytes are allowed; choose a "
            "smaller context length or a larger cache");
}

TEST(CachePlan, RefusesOptionsThatMeanNothing) {
  EXPECT_EQ(refusal({.context_length = 1001}, kFacts),
            "engine: context_length is 1001, but the model was made for 1000 tokens; choose at "
            "most that");
  EXPECT_EQ(refusal({.max_sequences = 0}, kFacts), "engine: max_sequences is 0, choose 1 to 4096");
  EXPECT_EQ(refusal({.prompt_chunk = 0}, kFacts), "engine: prompt_chunk is 0, choose 1 to 65536");
}

TEST(CachePlan, NeedsNoMemoryForAModelWithoutAttention) {
  CacheFacts facts = kFacts;
  facts.page_bytes = 0;
  facts.free_bytes = 0;
  EXPECT_EQ(plan_cache({}, facts).pages, 8 * 16);
}

TEST(CachePlan, ReadsTheFreeMemoryOfThisMachine) {
  EXPECT_GT(available_memory_bytes(), 1 << 20);
}

}  // namespace
}  // namespace krasis
