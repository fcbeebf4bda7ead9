#include "base/float8.h"

#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <utility>
#include <vector>

namespace krasis {
namespace {

// What the format says of bits that are not NaN.
double meaning(unsigned bits) {
  const int exponent = static_cast<int>(bits >> 3 & 15U);
  const double fraction = (bits & 7U) / 8.0;
  const double magnitude =
      exponent == 0 ? std::ldexp(fraction, -6) : std::ldexp(1 + fraction, exponent - 7);
  return (bits & 0x80U) != 0 ? -magnitude : magnitude;
}

TEST(Float8, EveryNumberIsWhatTheFormatSays) {
  for (unsigned bits = 0; bits < 256; ++bits) {
    const float value = to_float(e4m3{static_cast<std::uint8_t>(bits)});
    EXPECT_EQ(std::signbit(value), bits >= 128) << bits;
    if ((bits & 0x7fU) == 0x7fU) {
      EXPECT_TRUE(std::isnan(value)) << bits;
    } else {
      EXPECT_EQ(double{value}, meaning(bits)) << bits;
    }
  }
}

TEST(Float8, EveryNumberSurvivesTheWayToFloatAndBack) {
  for (unsigned bits = 0; bits < 256; ++bits) {
    const e4m3 value{static_cast<std::uint8_t>(bits)};
    EXPECT_EQ(to_e4m3(to_float(value)), value) << bits;
  }
}

// Every F32 lies between two neighbours of E4M3 or beyond the last; all of them are met by taking
// the 16 upper bits with every lower half that decides a rounding.
TEST(Float8, EveryUpperHalfOfAFloatGoesToTheNearestAndTiesToEven) {
  for (std::uint32_t upper = 0; upper < 0x7f80U; ++upper) {
    for (const std::uint32_t lower : {0U, 1U, 0x7fffU, 0x8000U, 0x8001U, 0xffffU}) {
      const float value = std::bit_cast<float>(upper << 16 | lower);
      const unsigned got = to_e4m3(value).bits;
      ASSERT_LE(got, 0x7eU);
      const double error = std::abs(meaning(got) - double{value});
      if (got < 0x7eU) {
        const double above = std::abs(meaning(got + 1) - double{value});
        ASSERT_TRUE(error < above || (error == above && got % 2 == 0)) << value;
      }
      if (got > 0) {
        const double below = std::abs(meaning(got - 1) - double{value});
        ASSERT_TRUE(error < below || (error == below && got % 2 == 0)) << value;
      }
      ASSERT_EQ(to_e4m3(-value).bits, got | 0x80U);
    }
  }
}

TEST(Float8, LargeNumbersSaturateAndNanStays) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const std::vector<std::pair<float, unsigned>> cases = {
      {448.0F, 0x7e}, {449.0F, 0x7e}, {464.0F, 0x7e},    {480.0F, 0x7e},     {1e30F, 0x7e},
      {432.0F, 0x7e}, {431.9F, 0x7d}, {kInfinity, 0x7e}, {-kInfinity, 0xfe}, {-0.0F, 0x80}};
  for (const auto& [value, bits] : cases) EXPECT_EQ(to_e4m3(value).bits, bits) << value;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(to_e4m3(nan).bits & 0x7fU, 0x7fU);
  EXPECT_EQ(to_e4m3(-nan).bits & 0x7fU, 0x7fU);
}

}  // namespace
}  // namespace krasis
