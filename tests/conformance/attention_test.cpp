#include "conformance/paged_cache.h"

namespace krasis {
namespace {

using test::expect_near;
using test::for_each_backend;
using test::kUlp;
using test::normal_values;
using test::relative_error;
using test::rounded;
using test::Sequence;
using test::StridedRows;
using Shape = test::AttentionShape;
using Cache = test::PagedCache;

constexpr Shape kShapes[] = {
    {1, 1, 4, 4, 16, false},      {6, 2, 33, 17, 7, false},   {16, 2, 64, 64, 64, false},
    {4, 4, 8, 40, 1, false},      {5, 1, 576, 512, 64, true}, {40, 1, 20, 11, 32, true},
    {8, 8, 128, 128, 256, false},
};

void compare(const Shape& shape, DType dtype, const std::vector<Sequence>& sequences) {
  const Cache cache(shape, dtype, sequences);
  const std::int64_t rows = cache.tokens * shape.heads;
  StridedRows queries(rows, shape.key_dim, normal_values(rows * shape.key_dim, 3)),
      expected(rows, shape.value_dim);
  Attention op{.queries = queries.view(),
               .kv = cache.kv,
               .segments = cache.segments,
               .heads = shape.heads,
               .scale = 1 / std::sqrt(static_cast<float>(shape.key_dim)),
               .out = expected.view()};
  make_reference_ops()->attention(op);
  // A score is wrong by at most (key_dim / 4 + 16) half units of the sum of its terms' sizes, which
  // for normal numbers is 2 / pi * sqrt(key_dim) or, rarely, twice that; so is the logarithm of a
  // weight. The largest value is below 6; sums over tokens and chunks add less.
  const auto dim = static_cast<double>(shape.key_dim);
  const double tolerance = 2 * ((dim / 4 + 16) * std::sqrt(dim) + 64) * kUlp / 2;
  const std::vector<float> magnitude(static_cast<std::size_t>(rows * shape.value_dim), 6);
  for_each_backend([&](Ops& ops) {
    StridedRows actual(rows, shape.value_dim);
    op.out = actual.view();
    ops.attention(op);
    expect_near(actual.values(), expected.values(), magnitude, rounded(tolerance));
    EXPECT_LT(relative_error(actual.values(), expected.values()), rounded(2e-6));
    EXPECT_TRUE(actual.gaps_untouched());
  });
}

TEST(Conformance, AttentionOfSmallSteps) {
  for (const Shape& shape : kShapes) {
    for (const DType dtype : {DType::F32, DType::BF16, DType::F8E4M3}) {
      SCOPED_TRACE("key_dim " + std::to_string(shape.key_dim));
      compare(shape, dtype, {{1, 0}});
      compare(shape, dtype, {{1, 37}, {0, 5}, {9, 0}, {3, 70}});
    }
  }
}

TEST(Conformance, AttentionOverSeveralChunks) {
  compare(kShapes[1], DType::F32, {{1, 600}});
  compare(kShapes[1], DType::BF16, {{40, 250}, {1, 255}, {1, 256}, {2, 511}});
  compare(kShapes[4], DType::BF16, {{3, 520}});
  compare(kShapes[2], DType::BF16, {{300, 0}});
  compare(kShapes[1], DType::F8E4M3, {{40, 250}, {1, 255}, {1, 256}, {2, 511}});
  compare(kShapes[4], DType::F8E4M3, {{3, 520}});
}

TEST(Conformance, KvAppendIsExact) {
  for (const Shape& shape : kShapes) {
    for (const DType dtype : {DType::F32, DType::BF16, DType::F8E4M3}) {
      const std::vector<Sequence> sequences = {{1, 37}, {0, 5}, {9, 0}, {3, 70}};
      const Cache expected(shape, dtype, sequences);
      const std::int64_t rows = expected.tokens * shape.kv_heads;
      std::vector<float> values = normal_values(rows * shape.key_dim, 4);
      values[static_cast<std::size_t>(shape.key_dim * shape.kv_heads)] =
          std::numeric_limits<float>::quiet_NaN();
      // Of every size that E4M3 tells apart, and beyond it.
      for (std::size_t i = 0; i < values.size(); i += 3)
        values[i] *= std::ldexp(1.0F, static_cast<int>(i) % 26 - 13);
      StridedRows keys(rows, shape.key_dim, values),
          new_values(rows, shape.value_dim, normal_values(rows * shape.value_dim, 5));
      KvAppend op{.keys = keys.view(),
                  .values = shape.latent ? Rows() : Rows(new_values.view()),
                  .kv = expected.kv,
                  .segments = expected.segments};
      make_reference_ops()->kv_append(op);
      for_each_backend([&](Ops& ops) {
        const Cache actual(shape, dtype, sequences);
        op.kv = actual.kv;
        op.segments = actual.segments;
        ops.kv_append(op);
        EXPECT_EQ(actual.bytes(), expected.bytes());
      });
    }
  }
}

}  // namespace
}  // namespace krasis
