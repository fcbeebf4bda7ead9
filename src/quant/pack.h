// From plain integers to the packed bytes of a strip.
#pragma once

#include <cstddef>
#include <cstdint>

#include "quant/tiles.h"

namespace krasis::quant {

// q [64, padded_columns], each -8..7 or -127..127 -> shape.strip_bytes() bytes.
void pack_strip(const TileShape& shape, const std::int8_t* q, std::byte* out);

// scales [64, groups] -> [groups][64 in the order of tile_scale_index].
void pack_scales(const TileShape& shape, const bf16* scales, bf16* out);

}  // namespace krasis::quant
