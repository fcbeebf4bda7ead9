#pragma once

#include "conformance/support.h"
#include "quant/quantize.h"

namespace krasis::test {

// A matrix in tiles, with its own memory.
struct Tiles {
  Tiles(TileType type, std::int64_t rows, std::int64_t columns, const std::vector<float>& values)
      : shape(type, rows, columns),
        tiles(shape.tile_bytes()),
        scales(shape.scale_bytes() / sizeof(bf16)) {
    quantize_strips({.dtype = DType::F32,
                     .data = reinterpret_cast<const std::byte*>(values.data()),
                     .rows = rows,
                     .columns = columns},
                    {shape, tiles.data(), scales.data()}, 0, shape.strips());
  }
  Matrix matrix() const { return Matrix::of(TileMatrix{shape, tiles.data(), scales.data()}); }

  TileShape shape;
  std::vector<std::byte> tiles;
  std::vector<bf16> scales;
};

}  // namespace krasis::test
