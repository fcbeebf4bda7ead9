// Activations for the tensor cores.
#pragma once

#include <cstdint>
#include <cuda_bf16.h>

#include "cuda/launch.h"
#include "tensor/tensor.h"

namespace krasis::cuda {

// out[r, c] = x[r, c] rounded to BF16, 0 for x.cols <= c < columns. out's rows follow each other;
// columns is a multiple of 8.
void rows_to_bf16(const Rows& x, __nv_bfloat16* out, std::int64_t columns, const Launch& launch);

}  // namespace krasis::cuda
