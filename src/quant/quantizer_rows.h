// The arithmetic of quantizing one row, one table row for each instruction set. Every row gives
// the same bits: sums of errors run in eight interleaved lanes that are added in one order.
//
// Files built for one instruction set include this header and <immintrin.h>, nothing else: an
// inline function they emit may be the copy the linker keeps for everybody.
#pragma once

#include <cstddef>
#include <cstdint>

namespace krasis::quant {

struct QuantizeRow {
  const float* weights;     // [columns]
  const float* importance;  // [columns], or nullptr: all 1
  std::int64_t columns;     // a multiple of group
  int group;                // 32, 64 or 128
  int bits;                 // 4 or 8
  bool search;              // for the scale with the least error, instead of max|w| / 7 or 127
  std::uint16_t* scales;    // BF16, [columns / group]
  std::int8_t* q;           // [columns]
};

// False if a weight is not finite.
using QuantizeRowFn = bool(const QuantizeRow& job);
using WidenFn = void(const std::uint16_t* from, std::int64_t count, float* to);

QuantizeRowFn quantize_row_scalar;
QuantizeRowFn quantize_row_avx2;
WidenFn widen_bf16_scalar;
WidenFn widen_bf16_avx2;
WidenFn widen_f16_scalar;
WidenFn widen_f16_avx2;

// The grid of the scale search: with m the weight of the largest magnitude, the scales tried are
// -m / d, which put m at the negative end of the range, and m / d. For 8 bits the error of rounding
// to nearest is small beside everything else, and only m / 127 and its neighbours are tried.
constexpr int kCandidates = 32;
constexpr int kCandidates8 = 8;
extern const float kDivisors4[kCandidates];
extern const float kDivisors8[kCandidates8];

// Groups whose largest weight is below this become zero: the reciprocal of their scale would be
// infinite.
constexpr float kSmallestWeight = 1e-36F;
constexpr float kSmallestScale = 1e-38F;

// After the grid: the scale that fits the chosen q best, as often as that lowers the error.
constexpr int kFits = 2;

}  // namespace krasis::quant
