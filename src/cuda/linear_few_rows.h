// Products of a matrix of a few rows - a gate - with many tokens: bound by reading x.
#pragma once

#include "cuda/launch.h"
#include "ops/linear.h"

namespace krasis::cuda {

// BF16, aligned to 16 bytes, columns a multiple of 8, up to kFewRows rows (linear_plan.h); x is
// taken as the sum of two BF16, whichever form it comes in. Products and sums in F32.
void linear_few_rows(const Linear& op, const Launch& launch);

}  // namespace krasis::cuda
