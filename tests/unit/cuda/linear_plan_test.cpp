#include "cuda/linear_plan.h"

#include <gtest/gtest.h>

namespace krasis::cuda {
namespace {

alignas(16) const std::byte kMemory[64]{};

Matrix plain(Matrix::Format format, std::int64_t columns, std::size_t offset = 0) {
  return {.format = format,
          .rows = 100,
          .columns = columns,
          .data = kMemory + offset,
          .tiles = std::nullopt};
}

Matrix tiles() {
  return Matrix::of(TileMatrix{TileShape({4, 128}, 128, 256), kMemory, nullptr});
}

TEST(LinearPlan, ReadsBf16ForFewTokensOnceAndMultipliesManyOnTensorCores) {
  const Matrix weight = plain(Matrix::Format::BF16, 64);
  EXPECT_EQ(linear_path(weight, 1, 1, true), LinearPath::Vector);
  EXPECT_EQ(linear_path(weight, kLinearVectorTokens + 1, 1, true), LinearPath::Dense);
  EXPECT_EQ(linear_path(weight, kOwnLinearVectorTokens, 4, false), LinearPath::Vector);
  EXPECT_EQ(linear_path(weight, kOwnLinearVectorTokens + 1, 1, false), LinearPath::Dense);
}

TEST(LinearPlan, ReadsManyTokensOnceForAFewRows) {
  Matrix weight = plain(Matrix::Format::BF16, 64);
  weight.rows = kFewRows;
  EXPECT_EQ(linear_path(weight, kLinearVectorTokens, 1, true), LinearPath::Vector);
  EXPECT_EQ(linear_path(weight, kLinearVectorTokens + 1, 1, true), LinearPath::FewRows);
  EXPECT_EQ(linear_path(weight, kLinearVectorTokens + 1, kFewRows, true), LinearPath::Dense);
  weight.rows = kFewRows + 1;
  EXPECT_EQ(linear_path(weight, kLinearVectorTokens + 1, 1, true), LinearPath::Dense);
}

TEST(LinearPlan, TakesTheGeneralWayForWhatCannotBeReadByEights) {
  EXPECT_EQ(linear_path(plain(Matrix::Format::BF16, 63), 1, 1, true), LinearPath::Any);
  EXPECT_EQ(linear_path(plain(Matrix::Format::BF16, 64, 2), 500, 1, true), LinearPath::Any);
  EXPECT_EQ(linear_path(plain(Matrix::Format::F32, 64), 500, 1, true), LinearPath::Any);
  EXPECT_EQ(linear_path(plain(Matrix::Format::F16, 64), 1, 1, true), LinearPath::Any);
}

TEST(LinearPlan, DequantizesTilesForManyTokensWhereThatPays) {
  EXPECT_EQ(linear_path(tiles(), kTileVectorTokens, 1, true), LinearPath::TileVector);
  EXPECT_EQ(linear_path(tiles(), kTileVectorTokens + 1, 1, true), LinearPath::TileDense);
  EXPECT_EQ(linear_path(tiles(), kTileVectorTokens + 1, 1, false), LinearPath::TileGemm);
}

TEST(LinearPlan, DequantizesTilesOfHeadsForMoreThanFewTokens) {
  EXPECT_EQ(linear_path(tiles(), kTileVectorTokens, 2, false), LinearPath::TileVector);
  EXPECT_EQ(linear_path(tiles(), kTileVectorTokens + 1, 2, false), LinearPath::TileDense);
}

}  // namespace
}  // namespace krasis::cuda
