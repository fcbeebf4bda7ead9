#include <limits>

#include "unit/ops/check_support.h"

namespace krasis {
namespace {

using test::Block;
using test::complaint;
using test::plain;

TEST(MatrixOf, KnowsTheTypesThatCanBeMultiplied) {
  std::vector<bf16> values(6);
  const Matrix matrix = Matrix::of(view_of(std::span(values), {2, 3}));
  EXPECT_EQ(matrix.format, Matrix::Format::BF16);
  EXPECT_EQ(matrix.rows, 2);
  EXPECT_EQ(matrix.columns, 3);
}

TEST(MatrixOf, RefusesOtherTypesAndRanks) {
  std::vector<std::int32_t> values(6);
  try {
    Matrix::of(view_of(std::span(values), {2, 3}));
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::Unsupported);
    EXPECT_STREQ(error.what(),
                 "matrix: elements are I32, only F32, BF16 and F16 can be multiplied");
  }
  try {
    Matrix::of(view_of(std::span(values), {6}));
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::InvalidArgument);
    EXPECT_STREQ(error.what(), "matrix: shape [6] has not two dimensions");
  }
}

TEST(CheckLinear, RefusesWhatDoesNotFit) {
  Block x(2, 4), weight(3, 4), out(2, 3);
  const std::vector<float> bias(3), long_bias(4);
  Linear op{.x = x.view, .weight = plain(weight), .bias = bias, .out = out.view};
  EXPECT_EQ(complaint(op), "");
  op.bias = long_bias;
  EXPECT_EQ(complaint(op),
            "linear: x [2, 4], weight [3, 4], bias [4], out [2, 3] do not fit together");
  op.bias = {out.values.data(), 3};
  EXPECT_EQ(complaint(op), "linear: out overlaps bias");
  op.bias = {};
  op.out = MutableRows(x.values.data() + 2, 2, 3);
  EXPECT_EQ(complaint(op), "linear: out overlaps x");
}

TEST(CheckLinear, WantsTilesOfTheMatrixsShape) {
  Block x(1, 4), out(1, 3);
  const std::vector<bf16> scales(64);
  const std::vector<std::byte> tiles(64 * 64);
  Linear op{
      .x = x.view,
      .weight = Matrix::of(TileMatrix{TileShape(TileType{}, 3, 4), tiles.data(), scales.data()}),
      .bias = {},
      .out = out.view};
  EXPECT_EQ(complaint(op), "");
  op.weight.rows = 2;
  EXPECT_EQ(complaint(op), "linear: weight [2, 4] (tiles) does not have its tiles' shape");
  op.weight.tiles->scales = nullptr;
  EXPECT_EQ(complaint(op), "linear: weight [2, 4] (tiles) has no data");
  op.weight.tiles.reset();
  EXPECT_EQ(complaint(op), "linear: weight [2, 4] (tiles) has no data");
}

TEST(CheckHeadLinear, RefusesWhatDoesNotFit) {
  Block x(6, 4), weight(10, 4), out(6, 5);
  HeadLinear op{.x = x.view, .weight = plain(weight), .heads = 2, .out = out.view};
  EXPECT_EQ(complaint(op), "");
  op.heads = 3;
  EXPECT_EQ(complaint(op),
            "head_linear: x [6, 4], weight [10, 4], 3 heads, out [6, 5] do not fit together");
  const std::vector<bf16> scales(64);
  const std::vector<std::byte> tiles(64 * 64);
  op.heads = 2;
  op.weight = Matrix::of(TileMatrix{TileShape(TileType{}, 10, 4), tiles.data(), scales.data()});
  EXPECT_EQ(complaint(op), "head_linear: tiles with 5 rows a head, not a multiple of 64");
  op.weight = plain(weight);
  op.out = MutableRows(x.values.data(), 6, 5);
  EXPECT_EQ(complaint(op).substr(0, 12), "head_linear:");
}

TEST(CheckRoute, RefusesWhatCannotBeChosen) {
  Block logits(2, 8);
  std::vector<std::int32_t> ids(4);
  std::vector<float> weights(4), bias(8), short_bias(7);
  Route op{.logits = logits.view,
           .bias = bias,
           .routing = {.experts = 8, .top_k = 2},
           .ids = ids,
           .weights = weights};
  EXPECT_EQ(complaint(op), "");
  op.routing.top_k = 9;
  EXPECT_EQ(complaint(op), "route: top 9 of 8 experts cannot be chosen");
  op.routing.top_k = 2;
  op.routing.groups = 8;
  EXPECT_EQ(complaint(op), "route: top 2 of 8 experts in the best 1 of 8 groups cannot be chosen");
  op.routing.groups = 1;
  op.routing.scale = std::numeric_limits<float>::infinity();
  EXPECT_EQ(complaint(op), "route: scale is not finite");
  op.routing.scale = 1;
  op.bias = short_bias;
  EXPECT_EQ(complaint(op),
            "route: logits [2, 8], bias [7], ids [4], weights [4], top 2 of 8 experts do not fit "
            "together");
  op.bias = {};
  op.weights = {logits.values.data(), 4};
  EXPECT_EQ(complaint(op), "route: weights overlaps logits");
}

struct PlainExperts {
  Block gate{6, 4}, up{6, 4}, down{4, 6}, x{2, 4}, out{2, 4};
  Matrix gates[1] = {plain(gate)}, ups[1] = {plain(up)}, downs[1] = {plain(down)};
  std::vector<std::int32_t> ids = {0, 0};
  std::vector<float> weights = {1, 1};
  Experts op{.x = x.view,
             .ids = ids,
             .weights = weights,
             .top_k = 1,
             .matrices = {.experts = 1,
                          .hidden = 4,
                          .intermediate = 6,
                          .gate = gates,
                          .up = ups,
                          .down = downs,
                          .tiled = std::nullopt},
             .out = out.view};
};

TEST(CheckExperts, TakesAnIdOfMinusOneUnlessThereIsOneExpert) {
  PlainExperts given;
  given.ids[1] = -1;
  EXPECT_EQ(complaint(given.op), "experts: id -1 is not in [0, 1)");
  const std::vector<Matrix> gates(2, *given.op.matrices.gate);
  const std::vector<Matrix> ups(2, *given.op.matrices.up);
  const std::vector<Matrix> downs(2, *given.op.matrices.down);
  given.op.matrices.experts = 2;
  given.op.matrices.gate = gates.data();
  given.op.matrices.up = ups.data();
  given.op.matrices.down = downs.data();
  EXPECT_EQ(complaint(given.op), "");
  given.ids[0] = -2;
  EXPECT_EQ(complaint(given.op), "experts: id -2 is not in [-1, 2)");
}

TEST(CheckExperts, RefusesTokensThatDoNotFit) {
  PlainExperts given;
  EXPECT_EQ(complaint(given.op), "");
  given.ids[1] = 1;
  EXPECT_EQ(complaint(given.op), "experts: id 1 is not in [0, 1)");
  given.op.top_k = 2;
  EXPECT_EQ(complaint(given.op),
            "experts: x [2, 4], ids [2], weights [2], top 2, hidden 4, out [2, 4] do not fit "
            "together");
  given.op.top_k = 0;
  EXPECT_EQ(complaint(given.op),
            "experts: x [2, 4], ids [2], weights [2], top 0, hidden 4, out [2, 4] do not fit "
            "together");
}

TEST(CheckExperts, RefusesPlainMatricesThatDoNotFit) {
  PlainExperts given;
  given.ups[0].format = Matrix::Format::BF16;
  EXPECT_EQ(complaint(given.op),
            "experts: up of expert 0 [6, 4] is not [6, 4] with data in the first one's format");
  given.ups[0] = plain(given.down);
  EXPECT_EQ(complaint(given.op),
            "experts: up of expert 0 [4, 6] is not [6, 4] with data in the first one's format");
  given.op.matrices.up = nullptr;
  EXPECT_EQ(complaint(given.op), "experts: matrices are not either tiles or gate, up and down");
  given.op.matrices.experts = 0;
  EXPECT_EQ(complaint(given.op),
            "experts: 0 experts of hidden 4, intermediate 6 are not all above 0");
}

TEST(CheckExperts, RefusesPlainMatricesThatAreTiles) {
  PlainExperts given;
  given.gates[0].format = Matrix::Format::Tiles;
  EXPECT_EQ(complaint(given.op), "experts: plain matrices are tiles, which belong in `tiled`");
}

TEST(CheckExperts, RefusesTilesThatDoNotFit) {
  PlainExperts given;
  std::vector<std::byte> memory(1);
  const TileShape w13(TileType{}, 64, 4);
  const TileShape w2(TileType{}, 4, 6);
  given.op.matrices.gate = given.op.matrices.up = given.op.matrices.down = nullptr;
  given.op.matrices.tiled = ExpertMatrices::Tiled{
      .base = memory.data(),
      .expert_bytes = w13.tile_bytes() + w13.scale_bytes() + w2.tile_bytes() + w2.scale_bytes(),
      .w13 = w13,
      .w2 = w2,
      .w13_tiles = 0,
      .w13_scales = w13.tile_bytes(),
      .w2_tiles = w13.tile_bytes() + w13.scale_bytes(),
      .w2_scales = w13.tile_bytes() + w13.scale_bytes() + w2.tile_bytes()};
  EXPECT_EQ(complaint(given.op), "");
  given.op.matrices.tiled->w2_scales += 1;
  EXPECT_EQ(complaint(given.op), "experts: an expert's parts reach past its " +
                                     std::to_string(given.op.matrices.tiled->expert_bytes) +
                                     " bytes");
  given.op.matrices.tiled->base = nullptr;
  EXPECT_EQ(complaint(given.op), "experts: tiles have no data");
  given.op.matrices.tiled->w13 = w2;
  EXPECT_EQ(complaint(given.op),
            "experts: w13 [4, 6], w2 [4, 6] are not of hidden 4, intermediate 6");
}

}  // namespace
}  // namespace krasis
