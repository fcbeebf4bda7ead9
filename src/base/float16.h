// BF16 and F16 as bits. Conversions round to nearest even; NaN stays NaN.
#pragma once

#include <bit>
#include <cstdint>

namespace krasis {

struct bf16 {
  std::uint16_t bits = 0;
  friend bool operator==(const bf16&, const bf16&) = default;
};
struct f16 {
  std::uint16_t bits = 0;
  friend bool operator==(const f16&, const f16&) = default;
};

constexpr float to_float(bf16 value) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(value.bits) << 16);
}

constexpr bf16 to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffU) > 0x7f800000U)  // NaN: keep it quiet
    return {static_cast<std::uint16_t>((bits >> 16) | 0x40U)};
  return {static_cast<std::uint16_t>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16)};
}

float to_float(f16 value);
f16 to_f16(float value);

}  // namespace krasis
