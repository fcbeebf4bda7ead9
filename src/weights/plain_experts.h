// Experts as the checkpoint has them, for comparisons: slow, no cache.
#pragma once

#include <memory>

#include "arch/architecture.h"
#include "weights/expert_store.h"
#include "weights/tensor_source.h"

namespace krasis {

// Views of the source's F32, BF16 or F16 matrices. Packed INT4 is dequantized into BF16 that the
// store owns, rounded like the models' own code does it (two bytes a weight: small models only).
// `source` outlives the store. Throws as
// weights/expert_tensors.h does.
std::unique_ptr<ExpertStore> make_plain_experts(const ModelDescription& model,
                                                TensorSource& source);

}  // namespace krasis
