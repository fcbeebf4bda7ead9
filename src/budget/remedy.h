// What to say where a device is too small.
#pragma once

#include <string>

#include "budget/plan.h"

namespace krasis {

// How much is missing, and the smallest change of the settings that makes the model fit.
std::string too_small(const ModelSpec& spec, const PlanRequest& request);

}  // namespace krasis
