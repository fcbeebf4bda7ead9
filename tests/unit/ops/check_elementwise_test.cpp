#include <cmath>
#include <limits>

#include "unit/ops/check_support.h"

namespace krasis {
namespace {

using test::Block;
using test::complaint;
using test::plain;

TEST(CheckRows, NamesARowSetThatCannotBeRead) {
  Block x(2, 4), out(2, 4);
  const std::vector<float> weight(4);
  RmsNorm op{.x = x.view, .weight = weight, .eps = 1e-6F, .out = out.view};
  EXPECT_EQ(complaint(op), "");
  op.x.stride = 3;
  EXPECT_EQ(complaint(op), "rms_norm: x [2, 4] has a stride of 3, less than its columns");
  op.x = Rows(nullptr, 2, 4);
  EXPECT_EQ(complaint(op), "rms_norm: x [2, 4] has no data");
  op.x = Rows(x.values.data(), -1, 4);
  EXPECT_EQ(complaint(op), "rms_norm: x [-1, 4] has a negative dimension");
  op.x = Rows(x.values.data(), std::int64_t{1} << 40, 4, std::int64_t{1} << 30);
  EXPECT_EQ(complaint(op),
            "rms_norm: x [1099511627776, 4] with a stride of 1073741824 is larger than memory can "
            "be");
}

TEST(CheckEmbedding, RefusesWhatDoesNotFit) {
  Block table(3, 4), out(2, 4), short_out(2, 3);
  const std::vector<std::int32_t> ids = {2, 0};
  const std::vector<std::int32_t> bad_ids = {0, 3};
  Embedding op{.ids = ids, .table = plain(table), .out = out.view};
  EXPECT_EQ(complaint(op), "");
  op.ids = bad_ids;
  EXPECT_EQ(complaint(op), "embedding: id 3 is not in [0, 3)");
  op.out = short_out.view;
  EXPECT_EQ(complaint(op), "embedding: ids [2], table [3, 4], out [2, 3] do not fit together");
  op.table.data = nullptr;
  EXPECT_EQ(complaint(op), "embedding: table [3, 4] (F32) has no data");
  op.table.rows = 0;
  EXPECT_EQ(complaint(op), "embedding: table [0, 4] (F32) has no elements");
  const std::vector<bf16> scales(64);
  op.table = Matrix::of(TileMatrix{TileShape(TileType{}, 3, 4),
                                   reinterpret_cast<const std::byte*>(table.values.data()),
                                   scales.data()});
  EXPECT_EQ(complaint(op), "embedding: table is tiles, only F32, BF16 and F16 can be looked up");
}

TEST(CheckRmsNorm, RefusesWhatDoesNotFit) {
  Block x(2, 4), out(2, 4);
  const std::vector<float> weight(4), short_weight(3);
  RmsNorm op{.x = x.view, .weight = short_weight, .eps = 1e-6F, .out = out.view};
  EXPECT_EQ(complaint(op), "rms_norm: x [2, 4], weight [3], out [2, 4] do not fit together");
  op.weight = weight;
  op.eps = 0;
  EXPECT_EQ(complaint(op), "rms_norm: eps is 0.000000, not finite and above 0");
  op.eps = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(complaint(op), "rms_norm: eps is nan, not finite and above 0");
}

TEST(CheckRmsNorm, AllowsItsInputAsOutputAndNothingInBetween) {
  std::vector<float> memory(12);
  const std::vector<float> weight(4);
  RmsNorm op{.x = Rows(memory.data(), 2, 4),
             .weight = weight,
             .eps = 1e-6F,
             .out = MutableRows(memory.data(), 2, 4)};
  EXPECT_EQ(complaint(op), "");
  op.out.data += 1;
  EXPECT_EQ(complaint(op), "rms_norm: out overlaps x without being the same rows");
  op.out = MutableRows(memory.data() + 8, 1, 4);
  op.x = Rows(memory.data(), 1, 4);
  op.weight = std::span(memory).subspan(6, 4);
  EXPECT_EQ(complaint(op), "rms_norm: out overlaps weight");
}

TEST(CheckAddNorm, RefusesWhatDoesNotFit) {
  Block x(2, 4), y(2, 4), out(2, 4), wide(2, 5);
  const std::vector<float> weight(4);
  AddNorm op{.x = x.view,
             .y = y.view,
             .z = {},
             .weight = weight,
             .eps = 1e-6F,
             .sum = x.view,
             .out = out.view};
  EXPECT_EQ(complaint(op), "");
  op.z = wide.view;
  EXPECT_EQ(complaint(op),
            "add_norm: x [2, 4], y [2, 4], z [2, 5], weight [4], sum [2, 4], out [2, 4] do not fit "
            "together");
  op.z = y.view;
  EXPECT_EQ(complaint(op), "");
  op.out = x.view;
  EXPECT_EQ(complaint(op), "add_norm: sum overlaps out");
  op.out = y.view;
  EXPECT_EQ(complaint(op), "add_norm: out overlaps y");
  op.out = out.view;
  op.eps = 0;
  EXPECT_EQ(complaint(op), "add_norm: eps is 0.000000, not finite and above 0");
}

TEST(CheckTopLogits, RefusesWhatDoesNotFit) {
  Block logits(2, 5);
  std::vector<std::int32_t> ids(6);
  std::vector<float> values(6);
  TopLogits op{.logits = logits.view, .count = 3, .ids = ids, .values = values};
  EXPECT_EQ(complaint(op), "");
  op.count = 2;
  EXPECT_EQ(complaint(op), "top_logits: ids [6], values [6] do not hold 2 of each of 2 rows");
  op.count = 6;
  EXPECT_EQ(complaint(op),
            "top_logits: the 6 highest of [2, 5] cannot be found, 1 to 64 can, within a row");
  op.count = 3;
  op.values = std::span(logits.values).first(6);
  EXPECT_EQ(complaint(op), "top_logits: values overlaps logits");
}

TEST(CheckGatedRmsNorm, RefusesWhatDoesNotFit) {
  Block x(2, 4), gate(2, 3), out(2, 4);
  const std::vector<float> weight(4);
  GatedRmsNorm op{.x = x.view, .gate = gate.view, .weight = weight, .eps = 1, .out = out.view};
  EXPECT_EQ(complaint(op),
            "gated_rms_norm: x [2, 4], gate [2, 3], weight [4], out [2, 4] do not fit together");
  op.gate = out.view;
  EXPECT_EQ(complaint(op), "gated_rms_norm: out overlaps gate");
}

TEST(CheckAdd, RefusesWhatDoesNotFit) {
  Block x(2, 4), y(3, 4), out(2, 4);
  EXPECT_EQ(complaint(Add{.x = x.view, .y = y.view, .out = out.view}),
            "add: x [2, 4], y [3, 4], z [0, 0], out [2, 4] do not fit together");
  EXPECT_EQ(complaint(Add{.x = x.view, .y = x.view, .z = y.view, .out = x.view}),
            "add: x [2, 4], y [2, 4], z [3, 4], out [2, 4] do not fit together");
  EXPECT_EQ(complaint(Add{.x = x.view, .y = x.view, .out = x.view}), "");
  EXPECT_EQ(complaint(Add{.x = x.view, .y = y.view.slice(0, 2), .out = y.view.slice(1, 2)}),
            "add: out overlaps y without being the same rows");
}

TEST(CheckCopy, TellsColumnsOfTheSameRowsApart) {
  Block block(3, 8), other(3, 4);
  EXPECT_EQ(complaint(Copy{.x = block.view.columns(0, 4), .out = block.view.columns(4, 4)}), "");
  EXPECT_EQ(complaint(Copy{.x = block.view.columns(4, 4), .out = block.view.columns(0, 4)}), "");
  EXPECT_EQ(complaint(Copy{.x = block.view.columns(0, 5), .out = block.view.columns(3, 5)}),
            "copy: out overlaps x");
  EXPECT_EQ(complaint(Copy{.x = block.view.columns(3, 5), .out = block.view.columns(0, 5)}),
            "copy: out overlaps x");
  EXPECT_EQ(complaint(Copy{.x = block.view, .out = block.view}), "copy: out overlaps x");
  EXPECT_EQ(complaint(Copy{.x = block.view, .out = other.view}),
            "copy: x [3, 8], out [3, 4] do not fit together");
}

TEST(CheckCopy, SeesTheLastColumnReachIntoTheNextRow) {
  std::vector<float> memory(40);
  const Rows x(memory.data(), 3, 4, 8);
  EXPECT_EQ(complaint(Copy{.x = x, .out = MutableRows(memory.data() + 4, 3, 4, 8)}), "");
  EXPECT_EQ(complaint(Copy{.x = x, .out = MutableRows(memory.data() + 5, 3, 4, 8)}),
            "copy: out overlaps x");
}

TEST(CheckCopy, TellsRowsOfAnotherStrideApart) {
  std::vector<float> memory(64);
  const Rows wide(memory.data(), 3, 2, 16);
  EXPECT_EQ(complaint(Copy{.x = wide, .out = MutableRows(memory.data() + 2, 3, 2, 4)}), "");
  EXPECT_EQ(complaint(Copy{.x = wide, .out = MutableRows(memory.data() + 5, 3, 2, 6)}),
            "copy: out overlaps x");
}

TEST(CheckSigmoidMultiply, TakesAGateOfOneColumnOrOfAll) {
  Block x(2, 4), one(2, 1), two(2, 2);
  EXPECT_EQ(complaint(SigmoidMultiply{.x = x.view, .gate = one.view, .out = x.view}), "");
  EXPECT_EQ(complaint(SigmoidMultiply{.x = x.view, .gate = two.view, .out = x.view}),
            "sigmoid_multiply: x [2, 4], gate [2, 2], out [2, 4] do not fit together");
  EXPECT_EQ(complaint(SigmoidMultiply{.x = x.view, .gate = x.view, .out = x.view}),
            "sigmoid_multiply: out overlaps gate");
}

TEST(CheckRotaryTable, RefusesWhatDoesNotFit) {
  Block cosine(2, 3), sine(2, 3);
  const std::vector<std::int32_t> positions = {0, 1}, negative = {0, -1};
  const std::vector<float> frequencies(3), few(2);
  RotaryTable op{.positions = positions,
                 .frequencies = frequencies,
                 .scale = 1,
                 .cosine = cosine.view,
                 .sine = sine.view};
  EXPECT_EQ(complaint(op), "");
  op.positions = negative;
  EXPECT_EQ(complaint(op), "rotary_table: position -1 is negative");
  op.sine = cosine.view;
  EXPECT_EQ(complaint(op), "rotary_table: cosine overlaps sine");
  op.scale = std::numeric_limits<float>::infinity();
  EXPECT_EQ(complaint(op), "rotary_table: scale is not finite");
  op.frequencies = few;
  EXPECT_EQ(complaint(op),
            "rotary_table: positions [2], frequencies [2], cosine [2, 3], sine [2, 3] do not fit "
            "together");
}

TEST(CheckRotary, RefusesWhatDoesNotFit) {
  Block x(6, 4), table(3, 2);
  Rotary op{.x = x.view, .cosine = table.view, .sine = table.view, .heads = 2, .out = x.view};
  EXPECT_EQ(complaint(op), "");
  op.heads = 3;
  EXPECT_EQ(
      complaint(op),
      "rotary: x [6, 4], cosine [3, 2], sine [3, 2], out [6, 4], 3 heads do not fit together");
  op.heads = 2;
  op.sine = Rows(x.values.data(), 3, 2);
  EXPECT_EQ(complaint(op), "rotary: out overlaps sine");
}

}  // namespace
}  // namespace krasis
