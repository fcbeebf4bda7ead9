#include "model/batch.h"

#include <functional>
#include <gtest/gtest.h>

#include "base/error.h"

namespace krasis {
namespace {

constexpr StateSize kSize = {.pages = 8, .page_tokens = 4, .slots = 2};

class BatchCheck : public testing::Test {
 protected:
  // Two sequences: tokens 4, 5, 6 of one and token 0 of another.
  BatchCheck() {
    batch_.ids = {1, 2, 3, 4};
    batch_.positions = {4, 5, 6, 0};
    batch_.segments = {{.first_row = 0, .rows = 3, .past = 4, .slot = 1, .pages = pages_},
                       {.first_row = 3, .rows = 1, .past = 0, .slot = 0, .pages = pages_}};
    batch_.logit_rows = {2, 3};
  }

  std::string refusal(const std::function<void(Batch&)>& change) const {
    Batch changed = batch_;
    change(changed);
    try {
      check(changed, kSize);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::InvalidArgument);
      return error.what();
    }
    return "";
  }

  std::vector<std::int32_t> pages_ = {3, 1};
  Batch batch_;
};

TEST_F(BatchCheck, AcceptsSegmentsInOrderAndAnEmptyBatch) {
  EXPECT_NO_THROW(check(batch_, kSize));
  EXPECT_NO_THROW(check(Batch(), kSize));
}

TEST_F(BatchCheck, RefusesRowsThatAreNobodysOrTwosomes) {
  EXPECT_EQ(refusal([](Batch& b) { b.positions.pop_back(); }), "batch: 4 ids, 3 positions");
  EXPECT_EQ(refusal([](Batch& b) { b.segments.pop_back(); }), "batch: segments hold 3 of 4 tokens");
  EXPECT_EQ(refusal([](Batch& b) { b.segments[1].first_row = 2; }),
            "batch: segment 1 is rows [2, +1), but the next row is 3 of 4");
  EXPECT_EQ(refusal([](Batch& b) { b.segments[1].rows = 2; }),
            "batch: segment 1 is rows [3, +2), but the next row is 3 of 4");
  EXPECT_EQ(refusal([](Batch& b) { b.segments[0].rows = 0; }),
            "batch: segment 0 is rows [0, +0), but the next row is 0 of 4");
}

TEST_F(BatchCheck, RefusesWhatTheStateHasNoPlaceFor) {
  EXPECT_EQ(refusal([](Batch& b) { b.segments[0].slot = 2; }), "batch: segment 0 has slot 2 of 2");
  EXPECT_EQ(refusal([](Batch& b) { b.segments[0].past = -1; }),
            "batch: segment 0 has -1 past tokens");
  EXPECT_EQ(refusal([&](Batch& b) { b.segments[0].pages = std::span(pages_).first(1); }),
            "batch: segment 0 holds 4 + 3 tokens, its pages 4");
  EXPECT_EQ(refusal([](Batch& b) { b.segments[0].past = INT64_MAX; }),
            "batch: segment 0 holds 9223372036854775807 + 3 tokens, its pages 8");
}

TEST_F(BatchCheck, RefusesPositionsAndLogitRowsOutOfOrder) {
  EXPECT_EQ(refusal([](Batch& b) { b.positions[2] = 7; }),
            "batch: row 2 of segment 0 has position 7 after 4 past tokens");
  EXPECT_EQ(refusal([](Batch& b) {
              b.logit_rows = {2, 2};
            }),
            "batch: logit row 2 follows row 2 of 4 tokens");
  EXPECT_EQ(refusal([](Batch& b) { b.logit_rows = {4}; }),
            "batch: logit row 4 follows row -1 of 4 tokens");
}

}  // namespace
}  // namespace krasis
