// How activations become 8 bits in front of a tiled matrix, the same in every backend: for each
// group of columns
//   m = max |x|;  scale = m / 127;  q = round_to_nearest_even(x * (127 / m))
// with IEEE F32 arithmetic. A group with m < 1e-30 becomes zero (scale 0, all q 0), so that 127 / m
// stays finite. A group that holds a NaN or an infinity gets scale NaN and all q 0: every output of
// that row is NaN.
//
// A tiled product is then, with groups g in ascending order, every step rounded to F32:
//   dot = sum_k q_w[n, k] * q_x[k]                      exact, over the columns of group g
//   y   = fma(float(dot), w_scale[n, g] * x_scale[g], y)   starting at y = 0
// and is the same number in every implementation, whatever else is computed beside it.
#pragma once

#include <cstdint>
#include <span>

namespace krasis {

constexpr float kSmallestActivation = 1e-30F;

// q has x.size() elements rounded up to a multiple of 128 (zeros behind x), scales one element for
// each group of it. Throws Error(InvalidArgument) if not.
void quantize_activations(std::span<const float> x, int group, std::span<std::int8_t> q,
                          std::span<float> scales);

}  // namespace krasis
