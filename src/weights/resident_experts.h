// Routed experts in the memory of the ops, all of them.
#pragma once

#include <cstdint>
#include <memory>

#include "arch/model_spec.h"
#include "base/cancel.h"
#include "base/progress.h"
#include "ops/memory.h"
#include "weights/expert_store.h"

namespace krasis {

// Bytes that make_resident_experts() allocates for them.
std::uint64_t resident_expert_bytes(const ModelSpec& spec, const ExpertStore& experts);

// Copies every layer of `experts`, which is in the program's own memory, to `memory`: a layer is
// one piece there. `experts` is not used afterwards; `memory` outlives the result. Throws
// Error(OutOfMemory), Error(Cancelled).
std::unique_ptr<ExpertStore> make_resident_experts(const ModelSpec& spec,
                                                   const ExpertStore& experts, Memory& memory,
                                                   const Progress& progress = {},
                                                   const CancelFlag* cancel = nullptr);

}  // namespace krasis
