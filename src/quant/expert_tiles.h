// Where things lie in a tiled matrix and in a tiled expert, and the way back to F32. How weights
// become tiles: quant/quantize.h.
//
// A strip is 64 rows; its k-tiles of 16 columns follow each other along the columns. A k-tile is 32
// lanes; lane t = 4a + j holds, for i = 0..3, rows A = 16i + a and B = 16i + 8 + a of the strip and
// the columns 2j, 2j + 8, 2j + 1, 2j + 9 of the k-tile in this order:
//   4 bits: 16 bytes a lane; byte 4i + c holds A in its low nibble and B in its high nibble
//   8 bits: 32 bytes a lane; byte 8i + c holds A, byte 8i + 4 + c holds B
// with c = 0..3 counting the columns above. The scales of a strip and group are 64 BF16 in the
// order [a][A or B][i].
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "quant/tiles.h"

namespace krasis {

// Of element (row, column), 0 <= row < padded_rows, 0 <= column < padded_columns: its byte in the
// tiles, and how far to shift it right (0, or 4 for a high nibble).
struct TilePlace {
  std::size_t byte;
  int shift;
};
TilePlace tile_place(const TileShape& shape, std::int64_t row, std::int64_t column);

// The place of a row's scale among the matrix's scales.
std::size_t tile_scale_index(const TileShape& shape, std::int64_t row, std::int64_t group);

// The stored integer q, without the offset: [-8, 7] or [-127, 127].
int tile_value(const TileMatrix& matrix, std::int64_t row, std::int64_t column);

// out[c] = scale * q for the columns of one row, 0 <= row < shape.padded_rows. `out` has
// shape.columns elements. Throws Error(InvalidArgument) if not.
void dequantize_row(const TileMatrix& matrix, std::int64_t row, std::span<float> out);

// All of W [rows, columns].
void dequantize(const TileMatrix& matrix, std::span<float> out);

// Rows of w13 that hold gate row r and up row r.
constexpr std::int64_t w13_gate_row(std::int64_t row) {
  return row / 8 * 16 + row % 8;
}
constexpr std::int64_t w13_up_row(std::int64_t row) {
  return w13_gate_row(row) + 8;
}

// An expert's four parts lie one after another, each aligned to 4096 bytes; a layer's experts lie
// one after another, and layers are aligned to 2 MiB. Throws as TileShape does.
struct ExpertLayout {
  static constexpr std::size_t kPartAlignment = 4096;
  static constexpr std::size_t kLayerAlignment = std::size_t{2} << 20;

  ExpertLayout(TileType type, std::int64_t hidden_size, std::int64_t intermediate_size);

  std::int64_t hidden, intermediate;
  TileShape w13;  // [2 * round_up(intermediate, 32), hidden]
  TileShape w2;   // [hidden, intermediate]
  std::size_t w13_tiles, w13_scales, w2_tiles, w2_scales;  // offsets inside an expert
  std::size_t expert_bytes;

  // Of `experts` experts, with the padding to the next layer.
  std::size_t layer_bytes(std::int64_t experts) const;

  TileMatrix w13_of(const std::byte* expert) const;
  TileMatrix w2_of(const std::byte* expert) const;
};

}  // namespace krasis
