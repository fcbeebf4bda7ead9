// How fast a plan can be: what it moves and computes, over what a machine gives.
//   prompt of S tokens: S / (passes * max(streamed bytes / link, operations / GPU))
//   decode: 1 / (dense and resident bytes and the cache / VRAM, and the missing experts beside the
//           resident ones / (RAM + link))
// and without a device both with the processor's operations and RAM.
#pragma once

#include <cstdint>
#include <optional>

#include "budget/plan.h"

namespace krasis {

// A second. 0: not there, or not known.
struct MachineRates {
  double link = 0;                  // bytes, to the device
  double ram = 0;                   // bytes read
  double vram = 0;                  // bytes read
  double operations = 0;            // floating point, of the device
  double processor_operations = 0;  // of the processor's 8-bit products
};

struct PlannedRates {
  double bound = 0;     // tokens a second that nothing on this machine exceeds with this plan
  double expected = 0;  // with what krasis' kernels reach of the rates, and what cannot lie under
                        // other work: the first layer's copy, the steps' synchronisation
};

struct PromptSize {
  std::int64_t tokens = 0;
  std::int64_t past = 0;  // tokens that are in the cache before
};

struct StepState {
  std::int64_t context = 0;  // tokens
  // The share of the token's experts that the device computes, wherever it reads them; not given,
  // experts are taken to be chosen evenly, so that it is the residents' share, and the link carries
  // a part of the others.
  std::optional<double> hits = std::nullopt;
};

// Multiplications and additions of one token of a prompt, without attention's scores and the head.
double operations_a_token(const ModelSpec& spec);

// Those of the prompt's scores and their products with values (each token sees those before it and
// itself), and of the delta rule's recurrence.
double attention_operations(const ModelSpec& spec, const PromptSize& prompt);

// Bytes that the experts of one token have, over all layers.
double routed_bytes_a_token(const ModelSpec& spec, const WeightTypes& types);

// Zeros without a device if the processor's rates are not known.
PlannedRates prompt_rates(const ModelSpec& spec, const WeightTypes& types, const Plan& plan,
                          const MachineRates& rates, const PromptSize& prompt);

// Of one sequence.
PlannedRates decode_rates(const ModelSpec& spec, const WeightTypes& types, const Plan& plan,
                          const MachineRates& rates, const StepState& step);

}  // namespace krasis
