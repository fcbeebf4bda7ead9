#include "quant/activations.h"

#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <vector>

#include "base/error.h"

namespace krasis {
namespace {

struct Quantized {
  std::vector<std::int8_t> q;
  std::vector<float> scales;
};

Quantized quantize(const std::vector<float>& x, int group) {
  const std::size_t padded = (x.size() + 127) / 128 * 128;
  Quantized result{std::vector<std::int8_t>(padded),
                   std::vector<float>(padded / static_cast<std::size_t>(group))};
  quantize_activations(x, group, result.q, result.scales);
  return result;
}

TEST(Activations, TheLargestBecomes127AndHalvesRoundToEven) {
  std::vector<float> x(128, 0.0F);
  x[0] = -127;
  x[1] = 2.5F;
  x[2] = 3.5F;
  x[3] = -0.5F;
  const Quantized result = quantize(x, 128);
  EXPECT_EQ(result.scales[0], 1.0F);
  EXPECT_EQ(result.q[0], -127);
  EXPECT_EQ(result.q[1], 2);
  EXPECT_EQ(result.q[2], 4);
  EXPECT_EQ(result.q[3], 0);
}

TEST(Activations, GroupsHaveTheirOwnScaleAndColumnsBehindTheRowAreZero) {
  std::vector<float> x(33, 1.0F);
  x[32] = 254;
  const Quantized result = quantize(x, 32);
  EXPECT_EQ(result.scales, (std::vector<float>{1.0F / 127.0F, 2.0F, 0.0F, 0.0F}));
  EXPECT_EQ(result.q[31], 127);
  EXPECT_EQ(result.q[32], 127);
  EXPECT_EQ(result.q[33], 0);
}

TEST(Activations, ATinyGroupIsZeroAndNothingOverflows) {
  const Quantized result = quantize(std::vector<float>(64, 1e-38F), 64);
  EXPECT_EQ(result.scales[0], 0.0F);
  EXPECT_EQ(result.q[0], 0);
}

TEST(Activations, ANumberThatIsNotFiniteMakesTheScaleNan) {
  for (const float bad : {std::numeric_limits<float>::infinity(), std::nanf("")}) {
    std::vector<float> x(128, 1.0F);
    x[70] = bad;
    const Quantized result = quantize(x, 64);
    EXPECT_EQ(result.scales[0], 1.0F / 127.0F);
    EXPECT_TRUE(std::isnan(result.scales[1]));
    EXPECT_EQ(result.q[70], 0);
    EXPECT_EQ(result.q[64], 0);
  }
}

TEST(Activations, RejectsASpanOfAnotherSize) {
  std::vector<float> x(10), scales(1);
  std::vector<std::int8_t> q(10);
  try {
    quantize_activations(x, 128, q, scales);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "activations: 10 numbers in groups of 128 do not fit 10 and 1");
  }
}

}  // namespace
}  // namespace krasis
