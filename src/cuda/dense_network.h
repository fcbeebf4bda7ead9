// A dense network (one expert that takes every token) of so many tokens that each of its matrices
// is dequantized once and multiplied as BF16 (cuda/linear.h), which outdoes dequantizing in
// registers.
#pragma once

#include "cuda/launch.h"
#include "ops/experts.h"

namespace krasis::cuda {

// Whether the op is one, there is cuBLASLt, and launch.scratch has room for a good part of it.
bool is_dense_network(const Experts& op, const Launch& launch);

void dense_network(const Experts& op, const Launch& launch);

}  // namespace krasis::cuda
