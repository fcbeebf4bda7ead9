#include "quant/expert_tiles.h"

#include <gtest/gtest.h>
#include <set>
#include <vector>

#include "base/error.h"

namespace krasis {
namespace {

// The table of the layout: for lane t = 4a + j, word i, nibble n: the row and the column.
struct Element {
  std::int64_t row, column;
};

Element nibble_element(int lane, int word, int nibble) {
  const int a = lane / 4;
  const int j = lane % 4;
  const bool second_row = nibble % 2 == 1;
  const int columns[4] = {2 * j, 2 * j + 8, 2 * j + 1, 2 * j + 9};
  return {16 * word + a + (second_row ? 8 : 0), columns[nibble / 2]};
}

TEST(TilePlaces, FourBitsFollowTheTableOfTheLayout) {
  const TileShape shape({.bits = 4, .group = 128}, 128, 256);
  for (int lane = 0; lane < 32; ++lane) {
    for (int word = 0; word < 4; ++word) {
      for (int nibble = 0; nibble < 8; ++nibble) {
        const Element e = nibble_element(lane, word, nibble);
        const TilePlace place = tile_place(shape, 64 + e.row, 32 + e.column);
        const int byte = lane * 16 + word * 4 + nibble / 2;
        EXPECT_EQ(place.byte, shape.strip_bytes() + 2 * 512 + static_cast<std::size_t>(byte));
        EXPECT_EQ(place.shift, nibble % 2 * 4);
      }
    }
  }
}

TEST(TilePlaces, EightBitsHoldTheSameColumnsInPairsOfWords) {
  const TileShape four({.bits = 4, .group = 32}, 64, 128);
  const TileShape eight({.bits = 8, .group = 32}, 64, 128);
  for (std::int64_t row = 0; row < 64; ++row) {
    for (std::int64_t column = 0; column < 128; ++column) {
      const TilePlace nibble = tile_place(four, row, column);
      const TilePlace byte = tile_place(eight, row, column);
      const std::size_t word = nibble.byte / 4;
      const std::size_t half = nibble.shift == 0 ? 0 : 1;
      EXPECT_EQ(byte.byte, (2 * word + half) * 4 + nibble.byte % 4);
      EXPECT_EQ(byte.shift, 0);
    }
  }
}

TEST(TilePlaces, EveryByteAndScaleBelongsToOneElement) {
  const TileShape shape({.bits = 8, .group = 64}, 100, 200);
  std::set<std::size_t> bytes;
  std::set<std::size_t> scales;
  for (std::int64_t row = 0; row < shape.padded_rows; ++row) {
    for (std::int64_t column = 0; column < shape.padded_columns; ++column)
      bytes.insert(tile_place(shape, row, column).byte);
    for (std::int64_t group = 0; group < shape.groups(); ++group)
      scales.insert(tile_scale_index(shape, row, group));
  }
  EXPECT_EQ(bytes.size(), shape.tile_bytes());
  EXPECT_EQ(*bytes.rbegin() + 1, shape.tile_bytes());
  EXPECT_EQ(scales.size() * sizeof(bf16), shape.scale_bytes());
  EXPECT_EQ(*scales.rbegin() + 1, scales.size());
}

TEST(TilePlaces, FourNeighbouringScalesBelongToOneLane) {
  const TileShape shape({}, 64, 256);
  EXPECT_EQ(tile_scale_index(shape, 0, 0), 0U);
  EXPECT_EQ(tile_scale_index(shape, 16, 0), 1U);
  EXPECT_EQ(tile_scale_index(shape, 48, 0), 3U);
  EXPECT_EQ(tile_scale_index(shape, 8, 0), 4U);
  EXPECT_EQ(tile_scale_index(shape, 1, 0), 8U);
  EXPECT_EQ(tile_scale_index(shape, 63, 1), 127U);
}

TEST(TileShapes, PadRowsTo64AndColumnsTo128) {
  const TileShape shape({.bits = 4, .group = 32}, 2880, 2880);
  EXPECT_EQ(shape.padded_rows, 2880);
  EXPECT_EQ(shape.padded_columns, 2944);
  EXPECT_EQ(shape.strips(), 45);
  EXPECT_EQ(shape.groups(), 92);
  EXPECT_EQ(shape.tile_bytes(), 2880U * 2944U / 2U);
  EXPECT_EQ(shape.scale_bytes(), 2880U * 92U * 2U);
}

TEST(TileShapes, RejectTypesAndSizesThatDoNotExist) {
  try {
    TileShape({.bits = 5, .group = 128}, 1, 1);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::Unsupported);
    EXPECT_STREQ(error.what(),
                 "tiles: 5 bits in groups of 128: there are 4 or 8 bits in groups of 32, 64 or "
                 "128");
  }
  EXPECT_THROW(TileShape({.bits = 4, .group = 0}, 1, 1), Error);
  EXPECT_THROW(TileShape({}, 0, 1), Error);
  EXPECT_THROW(TileShape({}, 1, -1), Error);
  EXPECT_THROW(TileShape({}, std::int64_t{1} << 40, 1), Error);
}

TEST(ExpertLayouts, PartsFollowEachOtherAlignedTo4096) {
  const ExpertLayout layout({.bits = 4, .group = 128}, 2048, 768);
  EXPECT_EQ(layout.w13, TileShape({}, 1536, 2048));
  EXPECT_EQ(layout.w2, TileShape({}, 2048, 768));
  EXPECT_EQ(layout.w13_tiles, 0U);
  EXPECT_EQ(layout.w13_scales, 1536U * 2048 / 2);
  EXPECT_EQ(layout.w2_tiles, layout.w13_scales + 1536 * 16 * 2);
  EXPECT_EQ(layout.w2_scales, layout.w2_tiles + 2048 * 768 / 2);
  EXPECT_EQ(layout.expert_bytes, layout.w2_scales + 2048 * 6 * 2);
  EXPECT_EQ(layout.layer_bytes(3) % (std::size_t{2} << 20), 0U);
  EXPECT_GE(layout.layer_bytes(3), 3 * layout.expert_bytes);
}

TEST(ExpertLayouts, OddSizesArePadded) {
  const ExpertLayout layout({.bits = 8, .group = 32}, 100, 33);
  EXPECT_EQ(layout.w13.rows, 128);
  EXPECT_EQ(layout.w13.padded_columns, 128);
  EXPECT_EQ(layout.w2.columns, 33);
  EXPECT_EQ(layout.w2.padded_columns, 128);
  for (const std::size_t offset :
       {layout.w13_scales, layout.w2_tiles, layout.w2_scales, layout.expert_bytes})
    EXPECT_EQ(offset % ExpertLayout::kPartAlignment, 0U);
}

TEST(ExpertLayouts, GateAndUpRowsAlternateInEights) {
  EXPECT_EQ(w13_gate_row(0), 0);
  EXPECT_EQ(w13_gate_row(7), 7);
  EXPECT_EQ(w13_up_row(0), 8);
  EXPECT_EQ(w13_gate_row(8), 16);
  EXPECT_EQ(w13_up_row(15), 31);
}

TEST(Dequantize, RejectsWhatDoesNotFit) {
  const TileShape shape({}, 64, 128);
  const std::vector<std::byte> tiles(shape.tile_bytes());
  const std::vector<bf16> scales(64);
  std::vector<float> out(127);
  EXPECT_THROW(dequantize_row({shape, tiles.data(), scales.data()}, 0, out), Error);
  EXPECT_THROW(dequantize({shape, tiles.data(), scales.data()}, out), Error);
  out.resize(128);
  EXPECT_THROW(dequantize_row({shape, tiles.data(), scales.data()}, 64, out), Error);
}

}  // namespace
}  // namespace krasis
