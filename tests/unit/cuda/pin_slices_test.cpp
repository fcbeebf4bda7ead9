#include "cuda/pin_slices.h"

#include <cstdint>
#include <gtest/gtest.h>

namespace krasis {
namespace {

using Range = std::span<const std::byte>;
using Slices = std::vector<std::pair<std::uintptr_t, std::size_t>>;

constexpr std::uintptr_t kStart = std::uintptr_t{1} << 40;
constexpr std::size_t kPage = 4096, kHuge = std::size_t{2} << 20;

Range range(std::size_t offset, std::size_t bytes) {
  return {reinterpret_cast<const std::byte*>(kStart + offset), bytes};
}
Slices slices(const std::vector<Range>& ranges, std::size_t most_bytes) {
  Slices found;
  for (const Range slice : cuda::pin_slices(ranges, most_bytes))
    found.emplace_back(reinterpret_cast<std::uintptr_t>(slice.data()) - kStart, slice.size());
  return found;
}

TEST(PinSlices, AreWholePages) {
  EXPECT_EQ(slices({range(100, 50)}, kHuge), (Slices{{0, kPage}}));
  EXPECT_EQ(slices({range(kPage - 1, 2)}, kHuge), (Slices{{0, 2 * kPage}}));
  EXPECT_EQ(slices({range(kPage, 2 * kPage)}, kHuge), (Slices{{kPage, 2 * kPage}}));
}

TEST(PinSlices, HoldNeighboursUpToALimitInOrderOfAddresses) {
  const Range first = range(0, kHuge - 5), second = range(kHuge, 100), third = range(2 * kHuge, 1);
  EXPECT_EQ(slices({third, first, second}, 8 * kHuge), (Slices{{0, 2 * kHuge + kPage}}));
  EXPECT_EQ(slices({third, first, second}, kHuge + kPage),
            (Slices{{0, kHuge + kPage}, {2 * kHuge, kPage}}));
  EXPECT_EQ(slices({third, first, second}, 1),
            (Slices{{0, kHuge}, {kHuge, kPage}, {2 * kHuge, kPage}}));
}

TEST(PinSlices, DoNotHoldWhatLiesElsewhere) {
  EXPECT_EQ(slices({range(0, kPage), range(2 * kHuge, kPage)}, 100 * kHuge),
            (Slices{{0, kPage}, {2 * kHuge, kPage}}));
}

TEST(PinSlices, HoldAPageOnceHoweverSmallTheLimit) {
  EXPECT_EQ(slices({range(0, 100), range(200, kPage), range(kPage + 400, 8)}, 1),
            (Slices{{0, 2 * kPage}}));
  EXPECT_EQ(slices({range(0, 100), range(0, 100)}, 1), (Slices{{0, kPage}}));
  EXPECT_EQ(slices({range(0, 0)}, 1), Slices());
}

}  // namespace
}  // namespace krasis
