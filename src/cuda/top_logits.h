// The highest logits of each row (ops/top_logits.h).
#pragma once

#include "cuda/launch.h"
#include "ops/top_logits.h"

namespace krasis::cuda {

void top_logits(const TopLogits& op, const Launch& launch);

}  // namespace krasis::cuda
