// Tiles as plain BF16, for products that are better done so.
#pragma once

#include <cstdint>
#include <cuda_bf16.h>

#include "cuda/launch.h"
#include "quant/tiles.h"

namespace krasis::cuda {

// out[r, k] = BF16(scale * q) of the rows of strips [first, first + count), padding included; out
// has rows of shape.padded_columns.
void dequantize_strips(const TileMatrix& matrix, std::int64_t first, std::int64_t count,
                       __nv_bfloat16* out, const Launch& launch);

}  // namespace krasis::cuda
