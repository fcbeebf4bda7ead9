#include "quant/pack.h"

#include <cstring>

#include "quant/expert_tiles.h"

namespace krasis::quant {
namespace {

// The four words of a row's 16 columns, each in the order k0, k8, k1, k9; they go `stride` bytes
// apart.
void store_words(const std::uint8_t* columns, std::byte* out, std::int64_t stride) {
  for (int j = 0; j < 4; ++j, out += stride) {
    const std::uint8_t word[4] = {columns[2 * j], columns[2 * j + 8], columns[2 * j + 1],
                                  columns[2 * j + 9]};
    std::memcpy(out, word, sizeof word);
  }
}

void pack_tile4(const std::int8_t* q, std::int64_t row_stride, std::byte* out) {
  for (int i = 0; i < 4; ++i) {
    for (int a = 0; a < 8; ++a) {
      const std::int8_t* row_a = q + (16 * i + a) * row_stride;
      const std::int8_t* row_b = row_a + 8 * row_stride;
      std::uint8_t pairs[kTileColumns];
      for (int k = 0; k < kTileColumns; ++k)
        pairs[k] = static_cast<std::uint8_t>((row_a[k] + 8) | ((row_b[k] + 8) << 4));
      store_words(pairs, out + a * 64 + i * 4, 16);
    }
  }
}

void pack_tile8(const std::int8_t* q, std::int64_t row_stride, std::byte* out) {
  for (int row = 0; row < kStripRows; ++row) {
    std::uint8_t bytes[kTileColumns];
    for (int k = 0; k < kTileColumns; ++k)
      bytes[k] = static_cast<std::uint8_t>(q[row * row_stride + k] + 128);
    store_words(bytes, out + row % 8 * 128 + row / 16 * 8 + row / 8 % 2 * 4, 32);
  }
}

}  // namespace

void pack_strip(const TileShape& shape, const std::int8_t* q, std::byte* out) {
  const std::int64_t tile_bytes = kStripRows * kTileColumns * shape.type.bits / 8;
  for (std::int64_t k = 0; k < shape.padded_columns; k += kTileColumns, out += tile_bytes) {
    if (shape.type.bits == 4) {
      pack_tile4(q + k, shape.padded_columns, out);
    } else {
      pack_tile8(q + k, shape.padded_columns, out);
    }
  }
}

void pack_scales(const TileShape& shape, const bf16* scales, bf16* out) {
  for (std::int64_t row = 0; row < kStripRows; ++row) {
    for (std::int64_t group = 0; group < shape.groups(); ++group)
      out[tile_scale_index(shape, row, group)] = scales[row * shape.groups() + group];
  }
}

}  // namespace krasis::quant
