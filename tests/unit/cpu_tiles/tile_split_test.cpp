#include "cpu/tile_split.h"

#include <gtest/gtest.h>
#include <vector>

namespace krasis::cpu {
namespace {

TEST(TileSplit, EveryStripIsVisitedOnceWhateverTheCostsAndWorkers) {
  const std::vector<std::vector<StripSegment>> plans = {
      {},
      {{.strips = 1, .cost = 1}},
      {{.strips = 24, .cost = 5}, {.strips = 24, .cost = 5}, {.strips = 24, .cost = 6}},
      {{.strips = 3, .cost = 1000}, {.strips = 100, .cost = 1}, {.strips = 7, .cost = 13}},
  };
  for (auto segments : plans) {
    for (const int workers : {1, 2, 3, 7, 64}) {
      TileSplit split;
      split.plan(segments, workers);
      std::vector<std::vector<int>> visits;
      for (const StripSegment& segment : segments)
        visits.emplace_back(static_cast<std::size_t>(segment.strips));
      for (int worker = 0; worker < workers; ++worker) {
        split.run(worker, [&](std::size_t segment, std::int64_t first, std::int64_t last) {
          for (; first < last; ++first) ++visits[segment][static_cast<std::size_t>(first)];
        });
      }
      for (const auto& segment : visits) {
        for (const int count : segment) EXPECT_EQ(count, 1);
      }
    }
  }
}

TEST(TileSplit, AWorkerStartsWithOneLongRunOfItsOwn) {
  std::vector<StripSegment> segments = {{.strips = 1000, .cost = 3}};
  TileSplit split;
  split.plan(segments, 2);
  std::int64_t longest = 0;
  split.run(1, [&](std::size_t, std::int64_t first, std::int64_t last) {
    longest = std::max(longest, last - first);
  });
  EXPECT_EQ(longest, 350);
}

}  // namespace
}  // namespace krasis::cpu
