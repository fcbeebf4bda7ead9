// Activations for the tensor cores.
#pragma once

#include <cstdint>
#include <cuda_bf16.h>

#include "cuda/launch.h"
#include "ops/product_rows.h"

namespace krasis::cuda {

// High: rounded to BF16; Low: what the rounding took away, rounded. Their sum has 16 bits.
enum class Bf16Part : bool { High, Low };

// out[r, c] = that part of x[r, c], 0 for x.cols <= c < columns. out's rows follow each other;
// columns is a multiple of 8.
void rows_to_bf16(const Rows& x, __nv_bfloat16* out, std::int64_t columns, const Launch& launch,
                  Bf16Part part = Bf16Part::High);

// [x.rows, columns] rounded to BF16, as above: x itself if it is, or in launch.scratch. columns is
// x.cols if x is not F32.
const __nv_bfloat16* high_rows(const ProductRows& x, std::int64_t columns, const Launch& launch);

}  // namespace krasis::cuda
