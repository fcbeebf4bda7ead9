#include "quant/expert_tiles.h"

#include <string>

#include "base/error.h"

namespace krasis {
namespace {

constexpr std::int64_t kW13RowPadding = 32;  // gate rows in a strip of w13

std::size_t align_up(std::size_t value, std::size_t alignment) {
  return (value + alignment - 1) / alignment * alignment;
}

TileShape w13_shape(TileType type, std::int64_t hidden, std::int64_t intermediate) {
  const TileShape checked(type, intermediate, hidden);  // refuses sizes of no use before rounding
  return {type, 2 * ((checked.rows + kW13RowPadding - 1) / kW13RowPadding * kW13RowPadding),
          hidden};
}

// Where a row lies in its strip: row = 16 i + 8 half + a.
struct RowPlace {
  std::int64_t strip, i, half, a;
};

RowPlace place_of(std::int64_t row) {
  const std::int64_t in_strip = row % kStripRows;
  return {row / kStripRows, in_strip / 16, in_strip / 8 % 2, in_strip % 8};
}

}  // namespace

TilePlace tile_place(const TileShape& shape, std::int64_t row, std::int64_t column) {
  const RowPlace place = place_of(row);
  const std::int64_t tile = column / kTileColumns;
  const std::int64_t in_tile = column % kTileColumns;
  const std::int64_t lane = 4 * place.a + in_tile % 8 / 2;
  const std::int64_t c = 2 * (in_tile % 2) + in_tile / 8;  // the order k0, k8, k1, k9
  const std::size_t strip_start = static_cast<std::size_t>(place.strip) * shape.strip_bytes();
  if (shape.type.bits == 4) {
    const std::int64_t byte = tile * 512 + lane * 16 + place.i * 4 + c;
    return {strip_start + static_cast<std::size_t>(byte), static_cast<int>(4 * place.half)};
  }
  const std::int64_t byte = tile * 1024 + lane * 32 + place.i * 8 + place.half * 4 + c;
  return {strip_start + static_cast<std::size_t>(byte), 0};
}

std::size_t tile_scale_index(const TileShape& shape, std::int64_t row, std::int64_t group) {
  const RowPlace place = place_of(row);
  const std::int64_t index =
      (place.strip * shape.groups() + group) * kStripRows + place.a * 8 + place.half * 4 + place.i;
  return static_cast<std::size_t>(index);
}

int tile_value(const TileMatrix& matrix, std::int64_t row, std::int64_t column) {
  const TilePlace place = tile_place(matrix.shape, row, column);
  const int byte = std::to_integer<int>(matrix.tiles[place.byte]);
  return matrix.shape.type.bits == 4 ? ((byte >> place.shift) & 15) - 8 : byte - 128;
}

void dequantize_row(const TileMatrix& matrix, std::int64_t row, std::span<float> out) {
  const TileShape& shape = matrix.shape;
  if (row < 0 || row >= shape.padded_rows ||
      out.size() != static_cast<std::size_t>(shape.columns)) {
    throw Error(ErrorCode::InvalidArgument,
                "tiles: row " + std::to_string(row) + " of " + std::to_string(shape.padded_rows) +
                    " into " + std::to_string(out.size()) + " elements for " +
                    std::to_string(shape.columns) + " columns do not fit together");
  }
  for (std::int64_t column = 0; column < shape.columns; ++column) {
    const float scale =
        to_float(matrix.scales[tile_scale_index(shape, row, column / shape.type.group)]);
    out[static_cast<std::size_t>(column)] =
        scale * static_cast<float>(tile_value(matrix, row, column));
  }
}

void dequantize(const TileMatrix& matrix, std::span<float> out) {
  const auto columns = static_cast<std::size_t>(matrix.shape.columns);
  if (out.size() != static_cast<std::size_t>(matrix.shape.rows) * columns) {
    throw Error(ErrorCode::InvalidArgument, "tiles: matrix [" + std::to_string(matrix.shape.rows) +
                                                ", " + std::to_string(columns) +
                                                "] does not fit into " +
                                                std::to_string(out.size()) + " elements");
  }
  for (std::int64_t row = 0; row < matrix.shape.rows; ++row)
    dequantize_row(matrix, row, out.subspan(static_cast<std::size_t>(row) * columns, columns));
}

ExpertLayout::ExpertLayout(TileType type, std::int64_t hidden_size, std::int64_t intermediate_size)
    : hidden(hidden_size),
      intermediate(intermediate_size),
      w13(w13_shape(type, hidden_size, intermediate_size)),
      w2(type, hidden_size, intermediate_size),
      w13_tiles(0),
      w13_scales(align_up(w13_tiles + w13.tile_bytes(), kPartAlignment)),
      w2_tiles(align_up(w13_scales + w13.scale_bytes(), kPartAlignment)),
      w2_scales(align_up(w2_tiles + w2.tile_bytes(), kPartAlignment)),
      expert_bytes(align_up(w2_scales + w2.scale_bytes(), kPartAlignment)) {}

std::size_t ExpertLayout::layer_bytes(std::int64_t experts) const {
  return align_up(static_cast<std::size_t>(experts) * expert_bytes, kLayerAlignment);
}

TileMatrix ExpertLayout::w13_of(const std::byte* expert) const {
  return {w13, expert + w13_tiles, reinterpret_cast<const bf16*>(expert + w13_scales)};
}

TileMatrix ExpertLayout::w2_of(const std::byte* expert) const {
  return {w2, expert + w2_tiles, reinterpret_cast<const bf16*>(expert + w2_scales)};
}

}  // namespace krasis
