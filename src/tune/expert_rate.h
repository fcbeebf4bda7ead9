// How fast this machine's processor computes experts where they lie.
#pragma once

#include <span>

#include "ops/ops.h"

namespace krasis {

struct ExpertRates {
  double bytes_a_second = 0;  // of experts with one token each: reading them
  double token_seconds = 0;   // of each token of an expert with many: computing
};

// Measured on some experts of some layers, with the memory that they are in: some tens of
// milliseconds. layers: tiled, in the program's own memory. All 0 without layers.
ExpertRates measure_expert_rates(Ops& processor, std::span<const ExpertMatrices> layers);

}  // namespace krasis
