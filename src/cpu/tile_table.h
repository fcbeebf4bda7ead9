// The table of tile kernels; each row's product is the fastest its instruction set has.
#pragma once

#include <span>
#include <string_view>

#include "cpu/features.h"
#include "cpu/tile_kernels.h"

namespace krasis::cpu {

struct TileKernels {
  std::string_view name;
  bool (*runs_on)(const Features&);
  TileProductFn* product;
  TileActivationsFn* activations;
  WeightedSumFn* weighted_sum;
};

// Fastest first; the last row runs anywhere.
std::span<const TileKernels> tile_kernels();

// The first row that this processor runs.
const TileKernels& best_tile_kernels();

}  // namespace krasis::cpu
