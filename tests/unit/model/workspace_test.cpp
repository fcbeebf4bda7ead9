#include "model/workspace.h"

#include <gtest/gtest.h>

namespace krasis {
namespace {

TEST(Workspace, GivesAlignedMemoryThatDoesNotOverlap) {
  Workspace workspace(host_memory());
  const Workspace::Scope scope(workspace);
  const MutableRows a = workspace.rows(3, 5);
  const std::span<std::int32_t> b = workspace.integers(7);
  const MutableRows c = workspace.rows(1, 1);
  EXPECT_EQ(a.stride, 5);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(a.data) % 64, 0U);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(c.data) % 64, 0U);
  EXPECT_GE(reinterpret_cast<std::byte*>(b.data()), reinterpret_cast<std::byte*>(a.data + 15));
  EXPECT_GE(reinterpret_cast<std::byte*>(c.data), reinterpret_cast<std::byte*>(b.data() + 7));
}

TEST(Workspace, GivesTheSameMemoryAgainAfterAScope) {
  Workspace workspace(host_memory());
  const Workspace::Scope step(workspace);
  const float* kept = workspace.rows(10, 10).data;
  const float* first = nullptr;
  for (int i = 0; i < 3; ++i) {
    const Workspace::Scope layer(workspace);
    const float* now = workspace.rows(4, 4).data;
    if (i == 0) first = now;
    EXPECT_EQ(now, first);
    EXPECT_NE(now, kept);
  }
}

TEST(Workspace, GrowsWithoutMovingWhatWasGiven) {
  Workspace workspace(host_memory());
  const Workspace::Scope scope(workspace);
  const MutableRows small = workspace.rows(1, 16);
  small.data[3] = 42;
  const MutableRows large = workspace.rows(1 << 12, 1 << 12);  // 64 MiB: a block of its own
  large.data[(std::int64_t{1} << 24) - 1] = 1;
  EXPECT_EQ(small.data[3], 42);
}

TEST(Workspace, ComesToRestAfterTheLargestStep) {
  Workspace workspace(host_memory());
  std::vector<const float*> before;
  for (int step = 0; step < 3; ++step) {
    const Workspace::Scope scope(workspace);
    std::vector<const float*> now;
    for (int part = 0; part < 6; ++part) now.push_back(workspace.rows(1 << 10, 1 << 10).data);
    if (step == 2) {
      EXPECT_EQ(now, before);
    }
    before = now;
  }
}

}  // namespace
}  // namespace krasis
