#include "quant/tiles.h"

#include <string>

#include "base/error.h"

namespace krasis {
namespace {

// Sizes stay far from overflow: 2^31 rows of 2^31 columns are 2^62 bytes.
constexpr std::int64_t kMaxDimension = std::int64_t{1} << 31;

std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace

TileShape::TileShape(TileType tile_type, std::int64_t row_count, std::int64_t column_count)
    : type(tile_type), rows(row_count), columns(column_count), padded_rows(0), padded_columns(0) {
  const bool known_group = type.group == 32 || type.group == 64 || type.group == 128;
  if ((type.bits != 4 && type.bits != 8) || !known_group) {
    throw Error(ErrorCode::Unsupported, "tiles: " + std::to_string(type.bits) +
                                            " bits in groups of " + std::to_string(type.group) +
                                            ": there are 4 or 8 bits in groups of 32, 64 or 128");
  }
  if (rows <= 0 || columns <= 0 || rows > kMaxDimension || columns > kMaxDimension) {
    throw Error(ErrorCode::InvalidArgument, "tiles: matrix [" + std::to_string(rows) + ", " +
                                                std::to_string(columns) +
                                                "]: dimensions must be 1 to 2147483648");
  }
  padded_rows = round_up(rows, kStripRows);
  padded_columns = round_up(columns, kColumnPadding);
}

std::size_t TileShape::strip_bytes() const {
  return static_cast<std::size_t>(kStripRows * padded_columns * type.bits / 8);
}

std::size_t TileShape::tile_bytes() const {
  return static_cast<std::size_t>(strips()) * strip_bytes();
}

std::size_t TileShape::scale_bytes() const {
  return static_cast<std::size_t>(padded_rows * groups()) * sizeof(bf16);
}

}  // namespace krasis
