#include "conformance/support.h"

namespace krasis {
namespace {

using test::absolute;
using test::expect_near;
using test::for_each_backend;
using test::kPlainFormats;
using test::kUlp;
using test::normal_values;
using test::PlainMatrix;
using test::StridedRows;

struct Size {
  std::int64_t rows, cols;
};
constexpr Size kSizes[] = {{1, 1}, {3, 7}, {2, 8}, {5, 17}, {1, 2048}, {37, 100}, {300, 65}};

TEST(Conformance, EmbeddingIsExact) {
  for (const Matrix::Format format : kPlainFormats) {
    for (const std::int64_t cols : {1, 7, 16, 129}) {
      const PlainMatrix table(format, 11, cols, normal_values(11 * cols, 1));
      const std::vector<std::int32_t> ids = {10, 0, 3, 3, 7};
      StridedRows expected(5, cols);
      make_reference_ops()->embedding(
          {.ids = ids, .table = table.matrix(), .out = expected.view()});
      for_each_backend([&](Ops& ops) {
        StridedRows actual(5, cols);
        ops.embedding({.ids = ids, .table = table.matrix(), .out = actual.view()});
        EXPECT_EQ(actual.values(), expected.values());
        EXPECT_TRUE(actual.gaps_untouched());
      });
    }
  }
}

// Sum of squares over lanes of at least 4, halved by the root; a few roundings after it.
double norm_tolerance(std::int64_t cols) {
  return (static_cast<double>(cols) / 8 + 12) * kUlp;
}

TEST(Conformance, RmsNorm) {
  for (const Size& size : kSizes) {
    const std::int64_t rows = size.rows;
    const std::int64_t cols = size.cols;
    const auto values = normal_values(rows * cols, 2);
    const auto weight = normal_values(cols, 3);
    StridedRows x(rows, cols, values), expected(rows, cols);
    make_reference_ops()->rms_norm(
        {.x = x.view(), .weight = weight, .eps = 1e-6F, .out = expected.view()});
    for_each_backend([&](Ops& ops) {
      StridedRows actual(rows, cols, values);
      ops.rms_norm({.x = actual.view(), .weight = weight, .eps = 1e-6F, .out = actual.view()});
      expect_near(actual.values(), expected.values(), expected.values(), norm_tolerance(cols));
      EXPECT_TRUE(actual.gaps_untouched());
    });
  }
}

TEST(Conformance, GatedRmsNorm) {
  for (const Size& size : kSizes) {
    const std::int64_t rows = size.rows;
    const std::int64_t cols = size.cols;
    // Gates up to +-120: exp of them leaves the range of F32.
    StridedRows x(rows, cols, normal_values(rows * cols, 4)),
        gate(rows, cols, normal_values(rows * cols, 5, 30)), expected(rows, cols);
    const auto weight = normal_values(cols, 6);
    make_reference_ops()->gated_rms_norm({.x = x.view(),
                                          .gate = gate.view(),
                                          .weight = weight,
                                          .eps = 1e-6F,
                                          .out = expected.view()});
    // silu(-88) and below is 0 but for 1e-36.
    std::vector<float> magnitude = absolute(expected.values());
    for (float& value : magnitude) value = std::max(value, 1e-30F);
    for_each_backend([&](Ops& ops) {
      StridedRows actual(rows, cols);
      ops.gated_rms_norm({.x = x.view(),
                          .gate = gate.view(),
                          .weight = weight,
                          .eps = 1e-6F,
                          .out = actual.view()});
      expect_near(actual.values(), expected.values(), magnitude, norm_tolerance(cols));
      EXPECT_TRUE(actual.gaps_untouched());
    });
  }
}

TEST(Conformance, AddNorm) {
  for (const Size& size : {Size{1, 1}, {3, 7}, {2, 8}, {5, 17}, {1, 2048}, {1, 5120}, {300, 65}}) {
    const std::int64_t rows = size.rows;
    const std::int64_t cols = size.cols;
    const auto values = normal_values(rows * cols, 20);
    const auto weight = normal_values(cols, 21);
    StridedRows x(rows, cols, values), y(rows, cols, normal_values(rows * cols, 22), 5),
        z(rows, cols, normal_values(rows * cols, 23)), sum(rows, cols), expected(rows, cols);
    for (const bool two : {false, true}) {
      AddNorm op{.x = x.view(),
                 .y = y.view(),
                 .z = two ? Rows(z.view()) : Rows{},
                 .weight = weight,
                 .eps = 1e-6F,
                 .sum = sum.view(),
                 .out = expected.view()};
      make_reference_ops()->add_norm(op);
      for_each_backend([&](Ops& ops) {
        StridedRows stream(rows, cols, values), actual(rows, cols);
        op.x = op.sum = stream.view();
        op.out = actual.view();
        ops.add_norm(op);
        EXPECT_EQ(stream.values(), sum.values());
        EXPECT_TRUE(stream.gaps_untouched());
        expect_near(actual.values(), expected.values(), expected.values(), norm_tolerance(cols));
        EXPECT_TRUE(actual.gaps_untouched());
      });
    }
  }
}

TEST(Conformance, AddAndCopyAreExact) {
  for (const Size& size : kSizes) {
    const std::int64_t rows = size.rows;
    const std::int64_t cols = size.cols;
    StridedRows x(rows, cols, normal_values(rows * cols, 7)),
        y(rows, cols, normal_values(rows * cols, 8), 5), expected(rows, cols),
        expected_of_three(rows, cols);
    make_reference_ops()->add({.x = x.view(), .y = y.view(), .out = expected.view()});
    make_reference_ops()->add(
        {.x = expected.view(), .y = y.view(), .z = x.view(), .out = expected_of_three.view()});
    for_each_backend([&](Ops& ops) {
      StridedRows sum(rows, cols), moved(rows, cols, 0);
      ops.add({.x = x.view(), .y = y.view(), .out = sum.view()});
      EXPECT_EQ(sum.values(), expected.values());
      EXPECT_TRUE(sum.gaps_untouched());
      ops.add({.x = sum.view(), .y = y.view(), .z = x.view(), .out = sum.view()});
      EXPECT_EQ(sum.values(), expected_of_three.values());
      EXPECT_TRUE(sum.gaps_untouched());
      ops.copy({.x = x.view(), .out = moved.view()});
      EXPECT_EQ(moved.values(), x.values());
      EXPECT_TRUE(moved.gaps_untouched());
    });
  }
}

TEST(Conformance, SigmoidMultiply) {
  for (const Size& size : kSizes) {
    const std::int64_t rows = size.rows;
    const std::int64_t cols = size.cols;
    for (const std::int64_t gate_cols : {std::int64_t{1}, cols}) {
      const auto values = normal_values(rows * cols, 9);
      StridedRows x(rows, cols, values),
          gate(rows, gate_cols, normal_values(rows * gate_cols, 10, 5)), expected(rows, cols);
      make_reference_ops()->sigmoid_multiply(
          {.x = x.view(), .gate = gate.view(), .out = expected.view()});
      for_each_backend([&](Ops& ops) {
        StridedRows actual(rows, cols, values);
        ops.sigmoid_multiply({.x = actual.view(), .gate = gate.view(), .out = actual.view()});
        expect_near(actual.values(), expected.values(), expected.values(), 6 * kUlp);
        EXPECT_TRUE(actual.gaps_untouched());
      });
    }
  }
}

TEST(Conformance, RotaryTable) {
  const std::vector<std::int32_t> positions = {0, 1, 5, 1000, 131071, 1048575};
  const std::vector<float> frequencies = {1, 0.5F, 0.1234F, 1e-4F, 1e-7F};
  StridedRows cosine(6, 5), sine(6, 5);
  make_reference_ops()->rotary_table({.positions = positions,
                                      .frequencies = frequencies,
                                      .scale = 1.3F,
                                      .cosine = cosine.view(),
                                      .sine = sine.view()});
  const std::vector<float> magnitude(30, 1.3F);
  for_each_backend([&](Ops& ops) {
    StridedRows actual_cosine(6, 5), actual_sine(6, 5);
    ops.rotary_table({.positions = positions,
                      .frequencies = frequencies,
                      .scale = 1.3F,
                      .cosine = actual_cosine.view(),
                      .sine = actual_sine.view()});
    expect_near(actual_cosine.values(), cosine.values(), magnitude, kUlp);
    expect_near(actual_sine.values(), sine.values(), magnitude, kUlp);
  });
}

TEST(Conformance, Rotary) {
  for (const bool interleaved : {false, true}) {
    for (const std::int64_t half : {1, 5, 32}) {
      for (const std::int64_t heads : {1, 3}) {
        const std::int64_t tokens = 7;
        const auto values = normal_values(tokens * heads * 2 * half, 11);
        StridedRows cosine(tokens, half, normal_values(tokens * half, 12)),
            sine(tokens, half, normal_values(tokens * half, 13)),
            expected(tokens * heads, 2 * half, values);
        Rotary op{.x = expected.view(),
                  .cosine = cosine.view(),
                  .sine = sine.view(),
                  .heads = heads,
                  .interleaved = interleaved,
                  .out = expected.view()};
        make_reference_ops()->rotary(op);
        // |a c| + |b s| of numbers that are all below 5
        const std::vector<float> magnitude(values.size(), 2 * 5 * 5);
        for_each_backend([&](Ops& ops) {
          StridedRows actual(tokens * heads, 2 * half, values);
          op.x = op.out = actual.view();
          ops.rotary(op);
          expect_near(actual.values(), expected.values(), magnitude, kUlp);
          EXPECT_TRUE(actual.gaps_untouched());
          StridedRows given(tokens * heads, 2 * half, values), elsewhere(tokens * heads, 2 * half);
          op.x = given.view();
          op.out = elsewhere.view();
          ops.rotary(op);
          EXPECT_EQ(elsewhere.values(), actual.values());
          EXPECT_TRUE(elsewhere.gaps_untouched());
        });
      }
    }
  }
}

TEST(Conformance, NanStaysInItsRow) {
  std::vector<float> values = normal_values(2 * 20, 14);
  values[25] = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> weight(20, 1);
  for_each_backend([&](Ops& ops) {
    StridedRows x(2, 20, values), out(2, 20);
    ops.gated_rms_norm(
        {.x = x.view(), .gate = x.view(), .weight = weight, .eps = 1, .out = out.view()});
    const auto result = out.values();
    EXPECT_TRUE(
        std::none_of(result.begin(), result.begin() + 20, [](float v) { return std::isnan(v); }));
    EXPECT_TRUE(
        std::all_of(result.begin() + 20, result.end(), [](float v) { return std::isnan(v); }));
    ops.sigmoid_multiply({.x = x.view(), .gate = x.view(), .out = out.view()});
    EXPECT_TRUE(std::isnan(out.view().row(1)[5]));
    EXPECT_FALSE(std::isnan(out.view().row(1)[6]));
  });
}

}  // namespace
}  // namespace krasis
