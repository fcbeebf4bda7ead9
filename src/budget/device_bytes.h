// What running a model on a device takes there: arithmetic on a spec.
#pragma once

#include <cstdint>

#include "arch/model_spec.h"
#include "budget/token_bytes.h"

namespace krasis {

// All weights but the routed experts, the embedding as BF16.
std::uint64_t dense_weight_bytes(const ModelSpec& spec, const WeightBytes& weights);

// Routed experts, of all layers.
std::uint64_t expert_weight_bytes(const ModelSpec& spec, const WeightBytes& weights);

// Intermediate results of a step of `tokens` tokens between the ops, with what a workspace that
// doubles may have too much.
std::uint64_t workspace_bytes(const ModelSpec& spec, std::int64_t tokens);

}  // namespace krasis
