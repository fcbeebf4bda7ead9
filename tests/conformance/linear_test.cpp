#include "conformance/tiles.h"

namespace krasis {
namespace {

using test::absolute;
using test::expect_near;
using test::for_each_backend;
using test::kPlainFormats;
using test::kUlp;
using test::normal_values;
using test::PlainMatrix;
using test::relative_error;
using test::rounded;
using test::StridedRows;
using test::Tiles;
using test::unquantized;

struct LinearSize {
  std::int64_t tokens, outputs, columns;
};
constexpr LinearSize kLinearSizes[] = {{1, 1, 1},    {1, 9, 7},     {2, 8, 64},    {3, 13, 33},
                                       {4, 3, 8},    {5, 24, 100},  {7, 65, 1030}, {66, 41, 72},
                                       {130, 7, 16}, {1, 200, 2100}};

// A lane adds columns / 4 products or fewer one after another, then lanes and blocks: each step
// rounds by half a unit.
double dot_tolerance(std::int64_t columns) {
  return (static_cast<double>(columns) / 4 + 16) * kUlp / 2;
}

// The largest share of a whole result's length that rounding may be: random steps of half a unit
// at most, sqrt(columns / 4) of them to the sum's full size. 1e-6 leaves them four times that.
constexpr double kRelative = 1e-6;

TEST(Conformance, Linear) {
  for (const Matrix::Format format : kPlainFormats) {
    for (const LinearSize& size : kLinearSizes) {
      const std::int64_t tokens = size.tokens;
      const std::int64_t outputs = size.outputs;
      const std::int64_t columns = size.columns;
      const auto values = normal_values(tokens * columns, 1);
      const auto weights = normal_values(outputs * columns, 2, 0.1F);
      const auto bias = normal_values(outputs, 3);
      const PlainMatrix weight(format, outputs, columns, weights);
      const PlainMatrix magnitudes(format, outputs, columns, absolute(weights));
      StridedRows x(tokens, columns, values), sizes(tokens, columns, absolute(values)),
          expected(tokens, outputs), magnitude(tokens, outputs);
      const auto size_bias = absolute(bias);
      const auto oracle = make_reference_ops();
      oracle->linear(
          {.x = x.view(), .weight = weight.matrix(), .bias = bias, .out = expected.view()});
      oracle->linear({.x = sizes.view(),
                      .weight = magnitudes.matrix(),
                      .bias = size_bias,
                      .out = magnitude.view()});
      for_each_backend([&](Ops& ops) {
        StridedRows actual(tokens, outputs);
        ops.linear({.x = x.view(), .weight = weight.matrix(), .bias = bias, .out = actual.view()});
        expect_near(actual.values(), expected.values(), magnitude.values(),
                    rounded(dot_tolerance(columns)));
        EXPECT_LT(relative_error(actual.values(), expected.values()), rounded(kRelative));
        EXPECT_TRUE(actual.gaps_untouched());
      });
    }
  }
}

TEST(Conformance, HeadLinear) {
  for (const Matrix::Format format : kPlainFormats) {
    for (const LinearSize& size : kLinearSizes) {
      const std::int64_t tokens = size.tokens;
      const std::int64_t outputs = size.outputs;
      const std::int64_t columns = size.columns;
      const std::int64_t heads = 3;
      const PlainMatrix weight(format, heads * outputs, columns,
                               normal_values(heads * outputs * columns, 4));
      StridedRows x(tokens * heads, columns, normal_values(tokens * heads * columns, 5)),
          expected(tokens * heads, outputs);
      make_reference_ops()->head_linear(
          {.x = x.view(), .weight = weight.matrix(), .heads = heads, .out = expected.view()});
      for_each_backend([&](Ops& ops) {
        StridedRows actual(tokens * heads, outputs);
        ops.head_linear(
            {.x = x.view(), .weight = weight.matrix(), .heads = heads, .out = actual.view()});
        EXPECT_LT(relative_error(actual.values(), expected.values()), rounded(kRelative));
        EXPECT_TRUE(actual.gaps_untouched());
      });
    }
  }
}

// Integer sums are exact; a group then costs two roundings.
TEST(Conformance, LinearAndHeadLinearWithTiles) {
  for (const TileType type : {TileType{4, 32}, TileType{4, 128}, TileType{8, 64}}) {
    for (const std::int64_t tokens : {1, 5, 40}) {
      const std::int64_t columns = 200;
      const Tiles weight(type, 128, columns, normal_values(128 * columns, 6));
      StridedRows x(tokens, columns, normal_values(tokens * columns, 7)), expected(tokens, 128);
      StridedRows head_x(tokens * 2, columns, normal_values(tokens * 2 * columns, 8)),
          head_expected(tokens * 2, 64);
      const auto bias = normal_values(128, 9);
      const auto oracle = make_reference_ops();
      oracle->linear(
          {.x = x.view(), .weight = weight.matrix(), .bias = bias, .out = expected.view()});
      oracle->head_linear(
          {.x = head_x.view(), .weight = weight.matrix(), .heads = 2, .out = head_expected.view()});
      for_each_backend([&](Ops& ops) {
        StridedRows actual(tokens, 128), head_actual(tokens * 2, 64);
        ops.linear({.x = x.view(), .weight = weight.matrix(), .bias = bias, .out = actual.view()});
        EXPECT_LT(relative_error(actual.values(), expected.values()), unquantized(kRelative));
        EXPECT_TRUE(actual.gaps_untouched());
        ops.head_linear(
            {.x = head_x.view(), .weight = weight.matrix(), .heads = 2, .out = head_actual.view()});
        EXPECT_LT(relative_error(head_actual.values(), head_expected.values()),
                  unquantized(kRelative));
        EXPECT_TRUE(head_actual.gaps_untouched());
      });
    }
  }
}

}  // namespace
}  // namespace krasis
