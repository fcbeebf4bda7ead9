// How fast a plan can be: what it moves and computes, over what a machine gives.
//   prompt of S tokens: S / (passes * max(streamed bytes / link, operations / GPU))
//   decode: 1 / (dense and resident bytes / VRAM, or the missing experts / RAM beside it)
#pragma once

#include <cstdint>
#include <optional>

#include "budget/plan.h"

namespace krasis {

// A second. 0: not there.
struct MachineRates {
  double link = 0;        // bytes, to the device
  double ram = 0;         // bytes read
  double vram = 0;        // bytes read
  double operations = 0;  // floating point, of the device
};

struct PlannedRates {
  double bound = 0;     // tokens a second that nothing on this machine exceeds with this plan
  double expected = 0;  // with what cannot lie under other work: the first layer's copy, the steps'
                        // synchronisation
};

// Multiplications and additions of one token of a prompt, without attention's scores and the head.
double operations_a_token(const ModelSpec& spec);

// Bytes that the experts of one token have, over all layers.
double routed_bytes_a_token(const ModelSpec& spec, const WeightTypes& types);

PlannedRates prompt_rates(const ModelSpec& spec, const Plan& plan, const MachineRates& rates,
                          std::int64_t tokens);

// Of one sequence with a short context. hits: the share of a token's experts that the device
// computes; not given, experts are taken to be chosen evenly, so that it is the residents' share.
PlannedRates decode_rates(const ModelSpec& spec, const WeightTypes& types, const Plan& plan,
                          const MachineRates& rates, std::optional<double> hits = std::nullopt);

}  // namespace krasis
