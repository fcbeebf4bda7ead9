// E4M3 as bits (Micikevicius et al. 2022, https://arxiv.org/abs/2209.05433): sign, 4 bits of
// exponent with bias 7, 3 of fraction. The largest is 448, the smallest 2^-9; no infinities;
// magnitude bits 0x7f are NaN. Conversion rounds to nearest even; what is larger than 448 becomes
// 448, infinity too, with its sign; NaN stays NaN.
#pragma once

#include <bit>
#include <cstdint>

namespace krasis {

struct e4m3 {
  std::uint8_t bits = 0;
  friend bool operator==(const e4m3&, const e4m3&) = default;
};

constexpr float to_float(e4m3 value) {
  const std::uint32_t sign = (value.bits & 0x80U) << 24;
  const std::uint32_t magnitude = value.bits & 0x7fU;
  if (magnitude == 0x7fU) return std::bit_cast<float>(sign | 0x7fc00000U);
  // The bits as those of an F32, whose exponents are 120 more.
  if (magnitude >= 8) return std::bit_cast<float>(sign | ((magnitude << 20) + (120U << 23)));
  const float small = static_cast<float>(magnitude) * 0x1p-9F;
  return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(small));
}

constexpr e4m3 to_e4m3(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 24) & 0x80U;
  const std::uint32_t magnitude = bits & 0x7fffffffU;
  std::uint32_t rounded = 0;
  if (magnitude > 0x7f800000U) {
    rounded = 0x7fU;
  } else if (magnitude >= std::bit_cast<std::uint32_t>(448.0F)) {
    rounded = 0x7eU;
  } else if (magnitude < std::bit_cast<std::uint32_t>(0x1p-6F)) {
    // A whole number of 2^-9, which is the last place of numbers from 2^14 on.
    const float sum = std::bit_cast<float>(magnitude) + 0x1p14F;
    rounded = std::bit_cast<std::uint32_t>(sum) - std::bit_cast<std::uint32_t>(0x1p14F);
  } else {
    rounded = ((magnitude + 0x7ffffU + ((magnitude >> 20) & 1U)) >> 20) - (120U << 3);
  }
  return {static_cast<std::uint8_t>(sign | rounded)};
}

}  // namespace krasis
