#include "ops/memory.h"

#include <cstring>
#include <gtest/gtest.h>
#include <utility>

namespace krasis {
namespace {

TEST(HostMemory, IsZeroedAndReadable) {
  Memory& memory = host_memory();
  EXPECT_TRUE(memory.is_host());
  const Buffer buffer = memory.allocate(1000);
  EXPECT_EQ(buffer.bytes(), 1000U);
  for (std::size_t i = 0; i < buffer.bytes(); ++i) ASSERT_EQ(buffer.data()[i], std::byte{0});
}

TEST(HostMemory, CopiesBothWays) {
  const Buffer buffer = host_memory().allocate(4);
  host_memory().upload(buffer.data(), "abcd", 4);
  char back[5] = {};
  host_memory().download(back, buffer.data(), 4);
  EXPECT_STREQ(back, "abcd");
}

TEST(HostMemory, HoldsABufferWithoutCopyingIt) {
  HostBuffer contents(64);
  std::byte* const data = contents.data();
  const Buffer held = host_memory().hold(std::move(contents));
  EXPECT_EQ(held.data(), data);
  EXPECT_EQ(held.bytes(), 64U);
}

TEST(HostMemory, GivesNothingForNoBytes) {
  const Buffer nothing = host_memory().allocate(0);
  EXPECT_EQ(nothing.data(), nullptr);
  EXPECT_EQ(host_memory().hold(HostBuffer()).data(), nullptr);
}

TEST(Buffer, IsOwnedByOneAtATime) {
  Buffer first = host_memory().allocate(16);
  std::byte* const data = first.data();
  Buffer second = std::move(first);
  EXPECT_EQ(second.data(), data);
  Buffer third;
  third = std::move(second);
  EXPECT_EQ(third.data(), data);
  EXPECT_EQ(second.data(), nullptr);
}

}  // namespace
}  // namespace krasis
