// Large BF16 products by NVIDIA's cuBLASLt, which is opened when the program runs: half a gigabyte
// that the program starts, and does its work, without.
#pragma once

#include <cstdint>
#include <cuda_bf16.h>
#include <memory>
#include <string>

#include "cuda/launch.h"

namespace krasis::cuda {

// out[b][t, n] = sum_k x[b][t, k] * weight[b][n, k] + bias[n], for b < batch; sums in F32. Strides
// and steps in elements; weight and x are aligned to 16 bytes and columns is a multiple of 8.
struct DenseProduct {
  const __nv_bfloat16* weight = nullptr;  // [rows, columns]
  std::int64_t weight_stride = 0;
  const __nv_bfloat16* x = nullptr;  // [tokens, columns]
  std::int64_t x_stride = 0;
  float* out = nullptr;                  // [tokens, rows]
  __nv_bfloat16* rounded_out = nullptr;  // in place of out, which is nullptr then
  std::int64_t out_stride = 0;
  const float* bias = nullptr;  // [rows], or nullptr
  bool adds = false;            // to what out holds
  std::int64_t rows = 0, columns = 0, tokens = 0;

  bool weight_transposed = false;  // weight is [columns, rows]

  std::int64_t batch = 1;
  std::int64_t weight_step = 0, x_step = 0, out_step = 0;
};

// Belongs to the device that is current when it is made; one thread at a time.
class CublasLt {
 public:
  // Nullptr if there is no usable libcublasLt.so.13; `why`, if given, then says what was tried.
  static std::unique_ptr<CublasLt> load(std::string* why = nullptr);
  ~CublasLt();

  // Takes its workspace from launch.scratch. Throws Error(Device) with cuBLASLt's status.
  void multiply(const DenseProduct& product, const Launch& launch);

 private:
  struct Library;
  explicit CublasLt(std::unique_ptr<Library> library);
  std::unique_ptr<Library> library_;
};

}  // namespace krasis::cuda
