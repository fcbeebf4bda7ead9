#include "weights/packed_int4.h"

namespace krasis {

std::vector<float> dequantize_packed(const CompressedRows& weight, std::int64_t group) {
  constexpr int kNibbleBits = 4;
  constexpr int kOffset = 8;
  std::vector<float> out(static_cast<std::size_t>(weight.rows * weight.columns));
  for (std::int64_t i = 0; i < weight.rows * weight.columns; ++i) {
    const auto word = static_cast<std::uint32_t>(weight.packed[i / 8]);
    const int nibble = static_cast<int>(word >> (i % 8 * kNibbleBits) & 0xfU);
    out[static_cast<std::size_t>(i)] =
        to_float(weight.scales[i / group]) * static_cast<float>(nibble - kOffset);
  }
  return out;
}

}  // namespace krasis
