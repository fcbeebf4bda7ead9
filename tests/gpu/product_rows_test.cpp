// Rows that are written for products alone (ops/product_rows.h): the numbers are those that a
// product would make of F32 for itself, so that results are equal to the bit.
#include "conformance/support.h"
#include "gpu/device.h"
#include "quant/expert_tiles.h"
#include "quant/quantize.h"

namespace krasis {
namespace {

using test::normal_values;

// Numbers on the device.
class Placed {
 public:
  template <class T>
  explicit Placed(const std::vector<T>& values)
      : buffer_(test::device_ops().memory().allocate(values.size() * sizeof(T))) {
    test::device_ops().memory().upload(buffer_.data(), values.data(), buffer_.bytes());
  }
  MutableRows rows(std::int64_t count, std::int64_t cols) const {
    return {buffer_.as<float>(), count, cols};
  }
  template <class T>
  std::span<const T> span() const {
    return {buffer_.as<T>(), buffer_.bytes() / sizeof(T)};
  }
  std::vector<float> floats() const {
    std::vector<float> values(buffer_.bytes() / sizeof(float));
    test::device_ops().memory().download(values.data(), buffer_.data(), buffer_.bytes());
    return values;
  }
  std::vector<bf16> halves() const {
    std::vector<bf16> values(buffer_.bytes() / sizeof(bf16));
    test::device_ops().memory().download(values.data(), buffer_.data(), buffer_.bytes());
    return values;
  }

 private:
  Buffer buffer_;
};

Placed untouched(std::int64_t count) {
  return Placed(std::vector<float>(static_cast<std::size_t>(count), test::kUntouched));
}

std::vector<float> high_and_low(const std::vector<float>& values) {
  std::vector<bf16> halves;
  for (const float value : values) halves.push_back(to_bf16(value));
  for (const float value : values) halves.push_back(to_bf16(value - to_float(to_bf16(value))));
  std::vector<float> packed(values.size());
  std::memcpy(packed.data(), halves.data(), values.size() * sizeof(float));
  return packed;
}

struct Shape {
  std::int64_t rows, cols;
};
constexpr Shape kShapes[] = {{1, 4},     {5, 128},    {3, 130}, {7, 33},
                             {40, 1024}, {150, 2048}, {2, 5001}};

// `write` computes the rows into `out`.
void expect_all_forms(const Shape& shape,
                      const std::function<void(const MutableProductRows&)>& write) {
  SCOPED_TRACE(std::to_string(shape.rows) + " rows of " + std::to_string(shape.cols));
  const std::int64_t count = shape.rows * shape.cols;
  const Placed plain = untouched(count), both = untouched(count), high = untouched(count);
  write(plain.rows(shape.rows, shape.cols));
  write({both.rows(shape.rows, shape.cols), RowForm::HighLow});
  write({high.rows(shape.rows, shape.cols), RowForm::High});
  const std::vector<float> packed = high_and_low(plain.floats());
  const auto bytes = static_cast<std::size_t>(count) * sizeof(float);
  EXPECT_EQ(std::memcmp(both.floats().data(), packed.data(), bytes), 0);
  EXPECT_EQ(std::memcmp(high.floats().data(), packed.data(), bytes / 2), 0);
  const std::vector<bf16> rest = high.halves();
  const std::vector<bf16> before = untouched(count).halves();
  EXPECT_TRUE(std::equal(rest.begin() + count, rest.end(), before.begin() + count));
}

TEST(ProductRows, AreWhatTheRoundingOfF32Yields) {
  Ops& ops = test::device_ops();
  for (const Shape& shape : kShapes) {
    const std::int64_t count = shape.rows * shape.cols;
    const Placed x(normal_values(count, 1)), y(normal_values(count, 2)),
        sum = untouched(count), weight(normal_values(shape.cols, 3)),
        gate(normal_values(shape.rows, 4));
    const Rows x_rows = x.rows(shape.rows, shape.cols), y_rows = y.rows(shape.rows, shape.cols);
    const std::span<const float> weights = weight.span<float>();
    expect_all_forms(shape, [&](const MutableProductRows& out) {
      ops.rms_norm({.x = x_rows, .weight = weights, .eps = 1e-6F, .out = out});
    });
    expect_all_forms(shape, [&](const MutableProductRows& out) {
      ops.gated_rms_norm(
          {.x = x_rows, .gate = y_rows, .weight = weights, .eps = 1e-6F, .out = out});
    });
    expect_all_forms(shape, [&](const MutableProductRows& out) {
      ops.add_norm({.x = x_rows,
                    .y = y_rows,
                    .z = y_rows,
                    .weight = weights,
                    .eps = 1e-6F,
                    .sum = sum.rows(shape.rows, shape.cols),
                    .out = out});
    });
    expect_all_forms(shape, [&](const MutableProductRows& out) {
      ops.sigmoid_multiply({.x = x_rows, .gate = y_rows, .out = out});
    });
    expect_all_forms(shape, [&](const MutableProductRows& out) {
      ops.sigmoid_multiply({.x = x_rows, .gate = gate.rows(shape.rows, 1), .out = out});
    });
  }
}

// Results from x in F32 and in the form that the device asks for, which is `expected`.
struct Products {
  std::vector<float> from_plain, from_packed;

  Products(const Matrix& weight, std::int64_t tokens, RowForm expected) {
    Ops& ops = test::device_ops();
    const std::vector<float> values = normal_values(tokens * weight.columns, 9);
    const Placed plain(values), packed(high_and_low(values)), out = untouched(tokens * weight.rows);
    const RowForm form = ops.form_for(weight, tokens);
    EXPECT_EQ(form, expected);
    Linear op{.x = plain.rows(tokens, weight.columns),
              .weight = weight,
              .bias = {},
              .out = out.rows(tokens, weight.rows)};
    ops.linear(op);
    from_plain = out.floats();
    op.x = {packed.rows(tokens, weight.columns), form};
    ops.linear(op);
    from_packed = out.floats();
  }
};

void expect_same_product(const Matrix& weight, std::int64_t tokens, RowForm expected) {
  SCOPED_TRACE(std::to_string(tokens) + " tokens, " + std::to_string(weight.rows) + " rows");
  const Products products(weight, tokens, expected);
  EXPECT_EQ(products.from_plain, products.from_packed);
}

std::vector<bf16> bf16_matrix(std::int64_t rows, std::int64_t columns) {
  std::vector<bf16> values;
  for (const float value : normal_values(rows * columns, 5)) values.push_back(to_bf16(value));
  return values;
}

// A sum of 256 products of x with 16 bits.
constexpr double kFewRowsTolerance = 1e-5;

void expect_same_and_close_product(const Matrix& weight, std::int64_t tokens, RowForm expected) {
  SCOPED_TRACE(std::to_string(tokens) + " tokens, " + std::to_string(weight.rows) + " rows");
  const Products products(weight, tokens, expected);
  const std::vector<bf16> values = bf16_matrix(weight.rows, weight.columns);
  const std::vector<float> x = normal_values(tokens * weight.columns, 9);
  std::vector<float> exact(static_cast<std::size_t>(tokens * weight.rows));
  Matrix here = weight;
  here.data = reinterpret_cast<const std::byte*>(values.data());
  make_reference_ops()->linear({.x = {x.data(), tokens, weight.columns},
                                .weight = here,
                                .bias = {},
                                .out = {exact.data(), tokens, weight.rows}});
  EXPECT_EQ(products.from_plain, products.from_packed);
  EXPECT_LT(test::relative_error(products.from_packed, exact), kFewRowsTolerance);
}

Matrix matrix_of(const Placed& values, std::int64_t rows, std::int64_t columns) {
  return {.format = Matrix::Format::BF16,
          .rows = rows,
          .columns = columns,
          .data = reinterpret_cast<const std::byte*>(values.span<bf16>().data()),
          .tiles = {}};
}

TEST(ProductRows, GiveLinearTheSameBits) {
  const Placed values(bf16_matrix(600, 256));
  for (const std::int64_t tokens : {20, 100, 333}) {
    expect_same_product(matrix_of(values, 600, 256), tokens, RowForm::High);
    expect_same_product(matrix_of(values, 64, 256), tokens, RowForm::HighLow);
    for (const std::int64_t rows : {1, 4})
      expect_same_and_close_product(matrix_of(values, rows, 256), tokens, RowForm::HighLow);
  }
}

TEST(ProductRows, GiveLinearWithTilesTheSameBits) {
  const TileType type = {.bits = 8, .group = 128};
  const TileShape shape(type, 192, 384);
  std::vector<std::byte> tiles(shape.tile_bytes());
  std::vector<bf16> scales(shape.scale_bytes() / sizeof(bf16));
  const std::vector<float> numbers = normal_values(192 * 384, 6);
  quantize_strips({.dtype = DType::F32,
                   .data = reinterpret_cast<const std::byte*>(numbers.data()),
                   .rows = 192,
                   .columns = 384},
                  {shape, tiles.data(), scales.data()}, 0, shape.strips());
  const Placed placed_tiles(tiles), placed_scales(scales);
  const Matrix weight = Matrix::of(
      TileMatrix{shape, placed_tiles.span<std::byte>().data(), placed_scales.span<bf16>().data()});
  for (const std::int64_t tokens : {33, 200}) expect_same_product(weight, tokens, RowForm::High);
}

// A layer of experts, its tokens and their choices.
struct Chosen {
  static constexpr std::int64_t kTokens = 700, kTopK = 2, kCount = 5, kHidden = 256;

  Chosen()
      : layout({.bits = 4, .group = 128}, kHidden, 64),
        tiles(std::vector<bf16>(layout.expert_bytes * kCount / sizeof(bf16), bf16{0x3C11})),
        values(normal_values(kTokens * kHidden, 9)),
        x(values),
        ids(choices()),
        weights(normal_values(kTokens * kTopK, 10)),
        out(untouched(kTokens * kHidden)) {
    test::device_ops().synchronize();  // others read it, too
  }

  static std::vector<std::int32_t> choices() {
    std::vector<std::int32_t> all;
    for (int i = 0; i < kTokens * kTopK; ++i) all.push_back(i * i % 5);
    return all;
  }
  static MutableRows rows(const Placed& placed) { return placed.rows(kTokens, kHidden); }
  Experts op() const {
    return {.x = rows(x),
            .ids = ids.span<std::int32_t>(),
            .weights = weights.span<float>(),
            .top_k = kTopK,
            .matrices = ExpertMatrices::of(layout, kCount, tiles.span<std::byte>().data()),
            .out = rows(out)};
  }

  ExpertLayout layout;
  Placed tiles;
  std::vector<float> values;
  Placed x, ids, weights, out;
};

// The device's operations, and some that work through 700 tokens in parts.
void for_both(const std::function<void(Ops&)>& use) {
  const auto small = test::make_device_ops({.scratch_bytes = std::size_t{500} << 10});
  for (Ops* ops : {&test::device_ops(), small.get()}) use(*ops);
}

TEST(ProductRows, GiveExpertsTheSameBits) {
  for_both([](Ops& ops) {
    const Chosen chosen;
    const Placed packed(high_and_low(chosen.values)), from_packed = untouched(700 * 256);
    test::device_ops().synchronize();
    Experts op = chosen.op();
    ASSERT_EQ(ops.form_for(op.matrices, op.x.rows, op.top_k), RowForm::High);
    ops.experts(op);
    op.x = {Chosen::rows(packed), RowForm::High};
    op.out = Chosen::rows(from_packed);
    ops.experts(op);
    ops.synchronize();
    EXPECT_EQ(chosen.out.floats(), from_packed.floats());
    EXPECT_NE(chosen.out.floats(), untouched(700 * 256).floats());
  });
}

TEST(ExpertsAndAdd, GiveTheBitsOfBothOps) {
  for_both([](Ops& ops) {
    for (const bool has_more : {false, true}) {
      for (const std::int64_t tokens : {5, 700}) {
        const Chosen chosen;
        const Placed x(normal_values(700 * 256, 11)), z(normal_values(700 * 256, 12)),
            expected = untouched(700 * 256);
        test::device_ops().synchronize();
        const auto some = [&](const Placed& rows) { return Chosen::rows(rows).slice(0, tokens); };
        Experts op = chosen.op();
        op.x = some(chosen.x);
        op.out = some(chosen.out);
        op.ids = op.ids.first(static_cast<std::size_t>(tokens * op.top_k));
        op.weights = op.weights.first(op.ids.size());
        Add sum{.x = some(x), .y = op.out, .z = has_more ? some(z) : Rows{}, .out = some(expected)};
        ops.experts(op);
        ops.add(sum);
        sum.out = some(x);
        ops.experts_and_add(op, sum);
        ops.synchronize();
        const std::vector<float> all = x.floats(), wanted = expected.floats();
        const auto count = static_cast<std::ptrdiff_t>(tokens * 256);
        EXPECT_TRUE(std::equal(all.begin(), all.begin() + count, wanted.begin()));
      }
    }
  });
}

TEST(ProductRows, AreRefusedWhereTheyHoldTooLittle) {
  const Placed values(bf16_matrix(64, 256)), x = untouched(100 * 256), out = untouched(100 * 64);
  const Matrix weight = matrix_of(values, 64, 256);
  EXPECT_THROW(test::device_ops().linear({.x = {x.rows(100, 256), RowForm::High},
                                          .weight = weight,
                                          .bias = {},
                                          .out = out.rows(100, 64)}),
               Error);
}

}  // namespace
}  // namespace krasis
