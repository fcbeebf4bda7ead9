// What to say where a device is too small.
#pragma once

#include <string>

#include "budget/plan.h"

namespace krasis {

// How much is missing, and the smallest change of the settings that makes the model fit.
std::string too_small(const ModelSpec& spec, const PlanRequest& request);

// Why a plan is too large for this much free RAM and what to do; empty if it fits. Experts, weights
// and what steps need are counted. Experts as stored are not, since they are mapped, nor is the
// key-value cache, which takes what is left. The rest of the system is left a twentieth.
std::string too_much_ram(const ModelSpec& spec, const WeightTypes& types, const Plan& plan,
                         std::uint64_t free_bytes);

}  // namespace krasis
