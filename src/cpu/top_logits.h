// ops/top_logits.h on the processor.
#pragma once

#include "cpu/machine.h"
#include "ops/top_logits.h"

namespace krasis::cpu {

void top_logits(const Machine& machine, const TopLogits& op);

}  // namespace krasis::cpu
