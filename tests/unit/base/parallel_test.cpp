#include "base/parallel.h"

#include <gtest/gtest.h>
#include <mutex>
#include <set>

#include "base/error.h"

namespace krasis {
namespace {

TEST(ForEachInParallel, VisitsEveryIndexOnce) {
  for (const int threads : {0, 1, 3, 50}) {
    std::mutex seen_mutex;
    std::multiset<std::int64_t> seen;
    for_each_in_parallel(20, threads, [&](std::int64_t index) {
      const std::lock_guard lock(seen_mutex);
      seen.insert(index);
    });
    EXPECT_EQ(seen.size(), 20U);
    EXPECT_EQ(std::set(seen.begin(), seen.end()).size(), 20U);
  }
}

TEST(ForEachInParallel, ThrowsTheFirstErrorAndStartsNothingMore) {
  int started = 0;
  const auto work = [&](std::int64_t index) {
    ++started;
    if (index == 2) throw Error(ErrorCode::Io, "third");
  };
  EXPECT_THROW(for_each_in_parallel(1000, 1, work), Error);
  EXPECT_EQ(started, 3);
  EXPECT_NO_THROW(for_each_in_parallel(0, 2, work));
}

}  // namespace
}  // namespace krasis
