// What a step's intermediate results take on a device: arithmetic on a spec, exact for src/model/.
#pragma once

#include <cstdint>

#include "arch/model_spec.h"

namespace krasis {

struct StepSize {
  std::int64_t tokens = 0;       // of the step
  std::int64_t part_tokens = 0;  // that go through a layer at a time
  std::int64_t logit_rows = 0;   // tokens whose logits are wanted
};

// What such a step and every smaller one fit into: its intermediate results, and for every token of
// a part a 0 and a 1.
std::uint64_t workspace_bytes(const ModelSpec& spec, const StepSize& size);

// Columns of a feed-forward network with biases: padded, and the one that carries them.
std::int64_t widened(std::int64_t size);

}  // namespace krasis
