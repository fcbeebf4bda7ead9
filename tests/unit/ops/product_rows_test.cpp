// Rows in a form for products alone: where they may be, and who refuses them.
#include "ops/product_rows.h"

#include "ops/ops.h"
#include "unit/ops/check_support.h"

namespace krasis {
namespace {

using test::Block;
using test::complaint;
using test::plain;

std::string error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(ProductRows, LieInTheMemoryOfTheirNumbers) {
  Block block(3, 4);
  const MutableProductRows both(block.view, RowForm::HighLow), high(block.view, RowForm::High);
  EXPECT_EQ(static_cast<void*>(both.high()), block.values.data());
  EXPECT_EQ(both.low(), both.high() + 12);
  EXPECT_EQ(static_cast<void*>(high.high()), block.values.data());
  EXPECT_EQ(high.low(), nullptr);
  const MutableProductRows numbers = block.view;
  EXPECT_EQ(numbers.high(), nullptr);
  EXPECT_EQ(numbers.low(), nullptr);
}

TEST(ProductRows, KeepTheirFormWhereTheyAreReadAlone) {
  Block block(3, 4);
  const ProductRows rows = MutableProductRows(block.view, RowForm::High);
  EXPECT_EQ(rows.form, RowForm::High);
  const Linear op{
      .x = MutableProductRows(block.view, RowForm::HighLow), .weight = {}, .bias = {}, .out = {}};
  EXPECT_EQ(op.x.form, RowForm::HighLow);
}

TEST(ProductRows, FollowEachOtherAndTakeNobodysPlace) {
  Block x(2, 4), out(2, 4), wide(2, 5);
  const std::vector<float> weight(4);
  RmsNorm op{.x = x.view, .weight = weight, .eps = 1e-6F, .out = {out.view, RowForm::High}};
  EXPECT_EQ(complaint(op), "");
  op.out = {wide.view.columns(0, 4), RowForm::High};
  EXPECT_EQ(complaint(op), "rms_norm: out [2, 4] has a stride of 5, but is not F32");
  op.out = {x.view, RowForm::High};
  EXPECT_EQ(complaint(op), "rms_norm: out overlaps x");
  op.out.form = RowForm::F32;
  EXPECT_EQ(complaint(op), "");
}

TEST(ProductRows, AreF32OnTheHost) {
  const auto ops = make_reference_ops();
  Block x(2, 4), out(2, 4), matrix(3, 4), result(2, 3);
  const std::vector<float> weight(4);
  const Matrix plain_matrix = plain(matrix);
  EXPECT_EQ(ops->form_for(plain_matrix, 100), RowForm::F32);
  const auto norm = [&] {
    ops->rms_norm(
        {.x = x.view, .weight = weight, .eps = 1e-6F, .out = {out.view, RowForm::HighLow}});
  };
  EXPECT_EQ(error_of(norm), "rms_norm: out is not F32, and this backend writes nothing else");
  const auto product = [&] {
    ops->linear(
        {.x = {x.view, RowForm::HighLow}, .weight = plain_matrix, .bias = {}, .out = result.view});
  };
  EXPECT_EQ(error_of(product), "linear: x is in a form that this product does not read");
}

}  // namespace
}  // namespace krasis
