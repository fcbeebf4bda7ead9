// How a model's weights are kept, and the bytes of each component: arithmetic on a spec, exact to
// the byte where the dense weights are stored as `stored_bytes` says.
#pragma once

#include <cstdint>
#include <optional>

#include "arch/model_spec.h"
#include "budget/token_bytes.h"
#include "quant/tiles.h"

namespace krasis {

// As the checkpoint has them, or as INT8 tiles in groups of 128.
struct WeightTypes {
  bool attention_int8 = false;
  bool shared_expert_int8 = true;
  bool dense_mlp_int8 = true;
  bool lm_head_int8 = true;
  std::optional<TileType> experts = TileType{};  // none: as the checkpoint has them
  std::int64_t stored_bytes = 2;                 // of a number in the checkpoint
};

// Bytes of one weight of each component, for sums that need no padding.
WeightBytes bytes_per_weight(const WeightTypes& types);

// What src/model/ allocates for weights.
struct DenseBytes {
  std::uint64_t embedding = 0, attention = 0, shared_expert = 0, dense_mlp = 0, router = 0,
                norms = 0, lm_head = 0;

  std::uint64_t total() const {
    return embedding + attention + shared_expert + dense_mlp + router + norms + lm_head;
  }
};
DenseBytes dense_bytes(const ModelSpec& spec, const WeightTypes& types);

// Of the routed experts.
struct ExpertBytes {
  std::int64_t layers = 0;   // sparse ones
  std::int64_t count = 0;    // experts over all layers
  std::uint64_t expert = 0;  // the largest expert
  std::uint64_t layer = 0;   // the largest layer
  std::uint64_t all = 0;     // all layers, without padding between them
  std::uint64_t arena = 0;   // in RAM, with the padding; 0: mapped from the checkpoint
};
ExpertBytes expert_bytes(const ModelSpec& spec, const WeightTypes& types);

}  // namespace krasis
