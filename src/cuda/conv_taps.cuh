// The causal convolution of four taps, four channels at a time (ops/delta_net.h).
#pragma once

namespace krasis::cuda {

constexpr int kTaps = 4;

// By a whole division, not the quick one of tensor_core.cuh.
__device__ inline float exact_silu(float z) {
  return z / (1.0F + __expf(-z));
}

// taps[i] are those of channel i, oldest input first; a to d are the inputs in this order.
__device__ inline float4 convolved(const float4 (&taps)[kTaps], const float4& a, const float4& b,
                                   const float4& c, const float4& d) {
  const auto one = [](const float4& tap, float p, float q, float r, float s) {
    return exact_silu(tap.x * p + tap.y * q + tap.z * r + tap.w * s);
  };
  return {one(taps[0], a.x, b.x, c.x, d.x), one(taps[1], a.y, b.y, c.y, d.y),
          one(taps[2], a.z, b.z, c.z, d.z), one(taps[3], a.w, b.w, c.w, d.w)};
}

// weight: [channels, kTaps], from the first of the four channels on.
__device__ inline void load_taps(const float* weight, float4 (&taps)[kTaps]) {
#pragma unroll
  for (int i = 0; i < kTaps; ++i) taps[i] = *reinterpret_cast<const float4*>(weight + i * kTaps);
}

}  // namespace krasis::cuda
