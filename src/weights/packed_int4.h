// compressed-tensors "pack-quantized" INT4 as numbers.
#pragma once

#include <vector>

#include "quant/quantize.h"

namespace krasis {

// W[row, column] = scale[row, column / group] * (nibble - 8), row-major.
std::vector<float> dequantize_packed(const CompressedRows& weight, std::int64_t group);

}  // namespace krasis
