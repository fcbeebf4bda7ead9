// The shape that each tensor of a model must have.
#pragma once

#include <optional>

#include "arch/architecture.h"
#include "tensor/tensor.h"

namespace krasis {

// nullopt: the model has no such tensor in that layer. `layer` is ignored for tensors outside the
// layers. Of an expert: what its unpacked matrix has.
std::optional<Shape> tensor_shape(const ModelSpec& spec, Role role, std::int64_t layer = 0);

}  // namespace krasis
