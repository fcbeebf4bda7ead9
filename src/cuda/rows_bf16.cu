#include <algorithm>

#include "cuda/rows_bf16.h"
#include "cuda/runtime.h"
#include "cuda/tensor_core.cuh"

namespace krasis::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kPiece = 8;  // columns a thread converts at a time: 16 bytes of BF16

template <bool Aligned, Bf16Part Part>
__global__ void convert_kernel(Rows x, __nv_bfloat16* out, long long columns) {
  const long long pieces = columns / kPiece;
  const long long all = x.rows * pieces;
  for (long long at = blockIdx.x * static_cast<long long>(kThreads) + threadIdx.x; at < all;
       at += static_cast<long long>(gridDim.x) * kThreads) {
    const long long column = at % pieces * kPiece;
    const float* from = x.data + at / pieces * x.stride + column;
    float v[kPiece];
    if (Aligned && column + kPiece <= x.cols) {
      const float4 low = reinterpret_cast<const float4*>(from)[0];
      const float4 high = reinterpret_cast<const float4*>(from)[1];
      v[0] = low.x, v[1] = low.y, v[2] = low.z, v[3] = low.w;
      v[4] = high.x, v[5] = high.y, v[6] = high.z, v[7] = high.w;
    } else {
#pragma unroll
      for (int i = 0; i < kPiece; ++i) v[i] = column + i < x.cols ? from[i] : 0.0f;
    }
    if constexpr (Part == Bf16Part::Low) {
#pragma unroll
      for (int i = 0; i < kPiece; ++i) v[i] -= __bfloat162float(__float2bfloat16_rn(v[i]));
    }
    reinterpret_cast<uint4*>(out)[at] = {pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]),
                                         pack_bf16(v[4], v[5]), pack_bf16(v[6], v[7])};
  }
}

}  // namespace

void rows_to_bf16(const Rows& x, __nv_bfloat16* out, std::int64_t columns, const Launch& launch,
                  Bf16Part part) {
  const std::int64_t pieces = x.rows * (columns / kPiece);
  if (pieces == 0) return;
  const std::int64_t wanted = (pieces + kThreads - 1) / kThreads;
  const auto blocks = static_cast<unsigned>(
      std::min<std::int64_t>(wanted, std::int64_t{launch.device.multiprocessors} * 32));
  const bool aligned = reinterpret_cast<std::uintptr_t>(x.data) % 16 == 0 && x.stride % 4 == 0;
  const auto high =
      aligned ? convert_kernel<true, Bf16Part::High> : convert_kernel<false, Bf16Part::High>;
  const auto low =
      aligned ? convert_kernel<true, Bf16Part::Low> : convert_kernel<false, Bf16Part::Low>;
  const auto kernel = part == Bf16Part::High ? high : low;
  kernel<<<blocks, kThreads, 0, launch.stream>>>(x, out, columns);
  check_launch("rows_to_bf16");
}

const __nv_bfloat16* high_rows(const ProductRows& x, std::int64_t columns, const Launch& launch) {
  if (x.form != RowForm::F32) return reinterpret_cast<const __nv_bfloat16*>(x.high());
  auto* out = launch.scratch.take_as<__nv_bfloat16>(static_cast<std::size_t>(x.rows * columns));
  rows_to_bf16(x, out, columns, launch);
  return out;
}

}  // namespace krasis::cuda
