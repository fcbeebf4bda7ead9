#include <gtest/gtest.h>

#include "base/error.h"
#include "cuda/step_tables.h"

namespace krasis::cuda {
namespace {

const std::vector<std::int32_t> kFirstPages = {7, 3, 5}, kSecondPages = {1};
const std::vector<Segment> kSegments = {
    {.first_row = 0, .rows = 3, .past = 600, .slot = 2, .pages = kFirstPages},
    {.first_row = 4, .rows = 1, .past = 9, .slot = 0, .pages = kSecondPages}};

std::vector<int> read(const int* from, int count) {
  return {from, from + count};
}

TEST(StepPlan, WritesWhatItsTablesPointAt) {
  const StepPlan plan(kSegments, 6);
  std::vector<std::int32_t> words(plan.words(), 99);
  plan.write(kSegments, words.data());
  const StepTables tables = plan.tables(words.data());
  EXPECT_EQ(tables.segments, 2);
  EXPECT_EQ(tables.tokens, 6);
  EXPECT_EQ(tables.max_rows, 3);
  EXPECT_EQ(tables.page_stride, 4);
  EXPECT_EQ(read(tables.first_row, 2), (std::vector<int>{0, 4}));
  EXPECT_EQ(read(tables.rows, 2), (std::vector<int>{3, 1}));
  EXPECT_EQ(read(tables.past, 2), (std::vector<int>{600, 9}));
  EXPECT_EQ(read(tables.slot, 2), (std::vector<int>{2, 0}));
  EXPECT_EQ(read(tables.pages, 3), kFirstPages);
  EXPECT_EQ(read(tables.pages + tables.page_stride, 1), kSecondPages);
  EXPECT_EQ(read(tables.segment_of_row, 6), (std::vector<int>{0, 0, 0, -1, 1, -1}));
  EXPECT_EQ(tables.segment_of_row + 6, words.data() + words.size());
}

TEST(StepPlan, IsTheSameWhileASequenceGrowsALittle) {
  std::vector<Segment> segments = {
      {.first_row = 0, .rows = 1, .past = 257, .slot = 0, .pages = kFirstPages}};
  const StepPlan before(segments, 1);
  EXPECT_EQ(before.max_context, 512);
  segments[0].past = 511;
  EXPECT_EQ(StepPlan(segments, 1), before);
  segments[0].past = 512;
  EXPECT_NE(StepPlan(segments, 1), before);
}

TEST(StepPlan, RoundsLongContextsByAnEighthAtMost) {
  for (const std::int64_t past : {5000, 40000, 131071, 1000000}) {
    const std::vector<Segment> segments = {
        {.first_row = 0, .rows = 1, .past = past, .slot = 0, .pages = {}}};
    const StepPlan plan(segments, 1);
    EXPECT_GE(plan.max_context, past + 1);
    EXPECT_LE(static_cast<double>(plan.max_context), 1.125 * static_cast<double>(past + 1));
  }
}

TEST(StepPlan, OfNothingHasNoWords) {
  EXPECT_EQ(StepPlan({}, 0).words(), 0U);
}

TEST(StepPlan, RefusesSizesBeyondItsNumbers) {
  const std::vector<Segment> segments = {
      {.first_row = 0, .rows = 1, .past = std::int64_t{1} << 31, .slot = 0, .pages = {}}};
  try {
    const StepPlan plan(segments, 1);
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "cuda: a step with a size of 2147483649 cannot be run");
  }
}

}  // namespace
}  // namespace krasis::cuda
