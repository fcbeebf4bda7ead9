#include "quant/quantizer_rows.h"

#include <algorithm>
#include <array>

#include "quant/quantizer.h"

namespace krasis::quant {
namespace {

bool anywhere() {
  return true;
}

bool with_avx2() {
  // clang 14 cannot ask for F16C; every processor with AVX2 has it.
  return __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;
}

constexpr std::array kRowQuantizers = {
    RowQuantizer{"avx2", with_avx2, quantize_row_avx2, widen_bf16_avx2, widen_f16_avx2},
    RowQuantizer{"scalar", anywhere, quantize_row_scalar, widen_bf16_scalar, widen_f16_scalar},
};

}  // namespace

// clang-format off
// Positive: m at the end of -8; negative: m at the end of 7. Below about 5 the rest of a group is
// resolved finer than clipping m is worth, even for heavy tails.
const float kDivisors4[kCandidates] = {
    8.00F,  7.80F,  7.60F,  7.40F,  7.20F,  7.00F,  6.80F,  6.60F,  6.40F,  6.20F,  6.00F,
    5.80F,  5.60F,  5.40F,  5.20F,  5.00F,  8.20F,  8.40F,  8.60F,  9.00F,
    -7.00F, -7.20F, -7.40F, -7.60F, -6.80F, -6.60F, -6.40F, -6.20F, -6.00F, -5.80F, -5.50F, -5.20F};
const float kDivisors8[kCandidates8] = {
    -127.0F, -127.5F, -127.25F, -126.75F, -126.5F, -128.0F, -126.0F, -125.0F};
// clang-format on

std::span<const RowQuantizer> row_quantizers() {
  return kRowQuantizers;
}

const RowQuantizer& row_quantizer() {
  static const auto chosen = std::ranges::find_if(
      kRowQuantizers, [](const RowQuantizer& row) { return row.runs_here(); });
  return chosen == kRowQuantizers.end() ? kRowQuantizers.back() : *chosen;
}

}  // namespace krasis::quant
