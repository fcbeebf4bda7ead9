// Experts whose matrices are F32, BF16 or F16 elements: every shape, without haste.
#pragma once

#include <cstddef>

#include "cuda/launch.h"
#include "ops/experts.h"

namespace krasis::cuda {

void plain_experts(const Experts& op, const Launch& launch);

std::size_t plain_experts_bytes(const ExpertMatrices& matrices, std::int64_t tokens,
                                std::int64_t top_k);

}  // namespace krasis::cuda
