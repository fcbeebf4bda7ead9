// tile_gemm() with the instructions of compute capability 9.0 alone.
#pragma once

#include "cuda/tile_gemm.h"

namespace krasis::cuda {

void tile_gemm_hopper(const TileProduct& product, TileOutput output, const Launch& launch);

}  // namespace krasis::cuda
