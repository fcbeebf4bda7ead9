// What a token costs in bytes: arithmetic on a spec, no device and no weights needed.
#pragma once

#include <cstdint>

#include "arch/model_spec.h"

namespace krasis {

// Bytes that one weight of each component takes, scales included: 2 for BF16, 1 + 2 / group for
// INT8 tiles, 0.5 + 2 / group for INT4.
struct WeightBytes {
  double attention = 2, shared_expert = 2, dense_mlp = 2, lm_head = 2, expert = 2;
};

// Weight bytes that one token of decode reads: everything dense and top_k experts a layer. Routers
// count as BF16; norms, biases and the embedding's one row are left out (under 0.1 %).
std::uint64_t decode_weight_bytes(const ModelSpec& spec, const WeightBytes& weights);

}  // namespace krasis
