// Rotary position embedding (ops/rotary.h).
#pragma once

#include "cuda/launch.h"
#include "ops/rotary.h"

namespace krasis::cuda {

void rotary_table(const RotaryTable& op, const Launch& launch);
void rotary(const Rotary& op, const Launch& launch);

}  // namespace krasis::cuda
