// How often tokens chose each expert, for who decides which experts are kept at hand.
#pragma once

#include <cstdint>
#include <span>

#include "cuda/launch.h"

namespace krasis::cuda {

// counts[id] += 1 for every id; -1 counts for nobody. Both in device memory.
void count_experts(std::span<const std::int32_t> ids, unsigned* counts, const Launch& launch);

}  // namespace krasis::cuda
