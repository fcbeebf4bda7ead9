// What cublaslt.h does, by a kernel of our own, for machines without that library.
#pragma once

#include "cuda/cublaslt.h"

namespace krasis::cuda {

void dense_gemm(const DenseProduct& product, const Launch& launch);

}  // namespace krasis::cuda
