// The one packed layout of quantized matrices, read as it is by every processor
// (docs/cache-format.md draws it). Symmetric, per output row and group of columns, scales BF16:
//   W[n, k] ~= scale[n, k / group] * q[n, k]
//   4 bits: q in [-8, 7], stored as q + 8 in a nibble; 8 bits: q in [-127, 127], stored as q + 128.
// Rows are padded to a multiple of 64 (a strip), columns to a multiple of 128, with zero weights.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/float16.h"

namespace krasis {

constexpr std::int64_t kStripRows = 64;
constexpr std::int64_t kTileColumns = 16;
constexpr std::int64_t kColumnPadding = 128;

struct TileType {
  int bits = 4;     // 4 or 8
  int group = 128;  // columns that share a scale: 32, 64 or 128

  friend bool operator==(const TileType&, const TileType&) = default;
};

// Sizes of one tiled matrix; arithmetic only. Throws Error(Unsupported) on a type that is not one
// of the above, Error(InvalidArgument) on empty dimensions.
struct TileShape {
  TileShape(TileType tile_type, std::int64_t row_count, std::int64_t column_count);

  TileType type;
  std::int64_t rows, columns;                // of the matrix
  std::int64_t padded_rows, padded_columns;  // as stored
  std::int64_t strips() const { return padded_rows / kStripRows; }
  std::int64_t groups() const { return padded_columns / type.group; }  // scales of a row
  std::size_t strip_bytes() const;                                     // the k-tiles of one strip
  std::size_t tile_bytes() const;                                      // all strips
  std::size_t scale_bytes() const;  // padded_rows * groups() BF16

  friend bool operator==(const TileShape&, const TileShape&) = default;
};

// A tiled matrix somewhere in memory.
struct TileMatrix {
  TileShape shape;
  const std::byte* tiles;  // [strips][k-tiles][lane 32][16 bytes (4 bits) or 32 bytes (8 bits)]
  const bf16* scales;      // [strips][groups][64 in the order of tile_scale_index]
};

}  // namespace krasis
