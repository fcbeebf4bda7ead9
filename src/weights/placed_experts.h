// Experts whose place a backend decides (cuda/devices.h, place_experts()): they stay in the memory
// of the store that loaded them.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "arch/model_spec.h"
#include "weights/expert_store.h"

namespace krasis {

// The sparse layers of `experts` in the order of the model's layers.
std::vector<ExpertMatrices> sparse_expert_layers(const ModelSpec& spec, const ExpertStore& experts);

// A store that gives out `placed`, the same layers as the backend wants them. bytes() is 0: it
// holds nothing itself.
std::unique_ptr<ExpertStore> make_placed_experts(const ModelSpec& spec,
                                                 std::span<const ExpertMatrices> placed);

}  // namespace krasis
