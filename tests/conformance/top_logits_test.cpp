#include "conformance/support.h"

namespace krasis {
namespace {

using test::for_each_backend;
using test::normal_values;
using test::StridedRows;

struct Found {
  std::vector<std::int32_t> ids;
  std::vector<float> values;
};

Found highest(Ops& ops, StridedRows& logits, std::int64_t count) {
  const auto size = static_cast<std::size_t>(logits.view().rows * count);
  Found found{std::vector<std::int32_t>(size, -1), std::vector<float>(size, -1)};
  ops.top_logits(
      {.logits = logits.view(), .count = count, .ids = found.ids, .values = found.values});
  return found;
}

// The numbers as integers: NaN is equal to NaN.
void expect_same(const Found& actual, const Found& expected) {
  EXPECT_EQ(actual.ids, expected.ids);
  ASSERT_EQ(actual.values.size(), expected.values.size());
  EXPECT_EQ(std::memcmp(actual.values.data(), expected.values.data(),
                        actual.values.size() * sizeof(float)),
            0);
}

void compare(std::int64_t rows, std::int64_t cols, const std::vector<float>& values) {
  StridedRows logits(rows, cols, values);
  for (const std::int64_t count : {1, 2, 20, 64}) {
    if (count > cols) continue;
    SCOPED_TRACE(std::to_string(count) + " of " + std::to_string(cols));
    const auto oracle = make_reference_ops();
    const Found expected = highest(*oracle, logits, count);
    for_each_backend([&](Ops& ops) { expect_same(highest(ops, logits, count), expected); });
  }
}

TEST(Conformance, TopLogitsAreExact) {
  for (const std::int64_t cols : {1, 5, 64, 511, 512, 513, 16384, 16385, 102400, 600000})
    compare(2, cols, normal_values(2 * cols, 30));
  compare(7, 3000, normal_values(7 * 3000, 31));
}

TEST(Conformance, TopLogitsTakesTheLowerColumnOnATie) {
  auto values = normal_values(40000, 32);
  for (float& value : values) value = std::round(value);  // seven numbers or so, -0 and 0
  compare(1, 40000, values);
  compare(1, 700, std::vector<float>(700, -2));
}

TEST(Conformance, TopLogitsShowsWhatIsNoNumber) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  auto values = normal_values(2000, 33);
  for (std::size_t i = 0; i < 1990; ++i) values[i] = -kInfinity;
  compare(1, 2000, values);
  values[700] = kInfinity;
  values[1200] = -std::nanf("");
  values[90] = std::nanf("");
  compare(1, 2000, values);
}

}  // namespace
}  // namespace krasis
