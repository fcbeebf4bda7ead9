// Choosing each token's experts (ops/experts.h, Route).
#pragma once

#include "cuda/launch.h"
#include "ops/experts.h"

namespace krasis::cuda {

void route(const Route& op, const Launch& launch);

}  // namespace krasis::cuda
