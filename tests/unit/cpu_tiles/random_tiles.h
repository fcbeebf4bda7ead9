// Matrices and activations for the tests of tile kernels.
#pragma once

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

#include "quant/expert_tiles.h"

namespace krasis {

inline std::vector<float> normal_values(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

// Tiles of random bytes: every stored value occurs, the padding holds random values too. Scales are
// of either sign.
struct RandomTiles {
  RandomTiles(const TileShape& tile_shape, unsigned seed)
      : shape(tile_shape), bytes(shape.tile_bytes()), scales(shape.scale_bytes() / sizeof(bf16)) {
    std::mt19937 random(seed);
    // A byte of 8 bits is never 0: q is at least -127.
    for (std::byte& byte : bytes)
      byte = static_cast<std::byte>(shape.type.bits == 8 ? 1 + random() % 255 : random() % 256);
    std::normal_distribution<float> normal(0.0F, 0.01F);
    for (bf16& scale : scales) scale = to_bf16(normal(random));
  }
  TileMatrix matrix() const { return {shape, bytes.data(), scales.data()}; }

  TileShape shape;
  std::vector<std::byte> bytes;
  std::vector<bf16> scales;
};

}  // namespace krasis
