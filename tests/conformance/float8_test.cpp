// Every instruction set's conversions to and from E4M3 against base/float8.h.
#include "base/float8.h"

#include <bit>
#include <cmath>
#include <gtest/gtest.h>
#include <numeric>
#include <vector>

#include "cpu/features.h"
#include "cpu/vector_kernels.h"

namespace krasis::cpu {
namespace {

template <class Test>
void for_each_row(Test&& test) {
  for (const VectorRow& row : vector_table()) {
    SCOPED_TRACE(row.kernels->name);
    if (row.runs_on(features())) test(*row.kernels);
  }
}

TEST(Float8Kernels, WidenEveryNumberWhereverItLies) {
  std::vector<std::uint8_t> all(256);
  std::iota(all.begin(), all.end(), std::uint8_t{0});
  for_each_row([&](const VectorKernels& kernels) {
    for (std::size_t first = 0; first < 40; ++first) {
      std::vector<float> wide(all.size() - first);
      kernels.widen(all.data() + first, Element::E4M3, std::ssize(wide), wide.data());
      for (std::size_t i = 0; i < wide.size(); ++i) {
        const float expected = to_float(e4m3{all[first + i]});
        ASSERT_EQ(std::isnan(wide[i]), std::isnan(expected)) << first + i;
        if (!std::isnan(expected)) {
          ASSERT_EQ(std::bit_cast<std::uint32_t>(wide[i]), std::bit_cast<std::uint32_t>(expected));
        }
      }
    }
  });
}

// Every upper half of a float with the lower halves that decide a rounding.
TEST(Float8Kernels, NarrowEveryFloatAsTheHeaderDoes) {
  std::vector<float> values;
  for (std::uint32_t upper = 0; upper < 0x10000U; ++upper)
    for (const std::uint32_t lower : {0U, 1U, 0x8000U, 0xffffU})
      values.push_back(std::bit_cast<float>(upper << 16 | lower));
  values.resize(values.size() - 3);  // not whole vectors
  for_each_row([&](const VectorKernels& kernels) {
    std::vector<std::uint8_t> narrow(values.size() + 1, 0x55);
    kernels.narrow_e4m3(values.data(), std::ssize(values), narrow.data());
    for (std::size_t i = 0; i < values.size(); ++i)
      ASSERT_EQ(narrow[i], to_e4m3(values[i]).bits) << values[i];
    EXPECT_EQ(narrow.back(), 0x55);
  });
}

}  // namespace
}  // namespace krasis::cpu
