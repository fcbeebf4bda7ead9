// How fast a processor computes routed experts where they lie, measured with the op itself.
#pragma once

#include "ops/ops.h"

namespace krasis {

struct ExpertRates {
  double bytes = 0;          // of experts a second, for a few tokens each
  double token_seconds = 0;  // of each token of an expert that has many
};

// The best of some runs over as much of `layer` as no cache holds; tens of milliseconds. The layer
// is tiled and in the memory of `ops`.
ExpertRates measure_expert_rates(Ops& ops, const ExpertMatrices& layer);

}  // namespace krasis
