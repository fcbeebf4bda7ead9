#include "quant/activations.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "base/error.h"
#include "quant/tiles.h"

namespace krasis {

void quantize_activations(std::span<const float> x, int group, std::span<std::int8_t> q,
                          std::span<float> scales) {
  const auto padding = static_cast<std::size_t>(kColumnPadding);
  const auto step = static_cast<std::size_t>(std::max(group, 1));
  if (q.size() != (x.size() + padding - 1) / padding * padding ||
      scales.size() * step != q.size()) {
    throw Error(ErrorCode::InvalidArgument, "activations: " + std::to_string(x.size()) +
                                                " numbers in groups of " + std::to_string(group) +
                                                " do not fit " + std::to_string(q.size()) +
                                                " and " + std::to_string(scales.size()));
  }
  std::ranges::fill(q, std::int8_t{0});
  for (std::size_t g = 0; g < scales.size(); ++g) {
    const std::size_t first = std::min(g * step, x.size());
    const auto values = x.subspan(first, std::min(step, x.size() - first));
    const bool finite = std::ranges::all_of(values, [](float v) { return std::isfinite(v); });
    float largest = 0;
    for (const float value : values) largest = std::max(largest, std::abs(value));
    scales[g] = 0;
    if (!finite) scales[g] = std::numeric_limits<float>::quiet_NaN();
    if (!finite || largest < kSmallestActivation) continue;
    scales[g] = largest / 127.0F;
    const float inverse = 127.0F / largest;
    for (std::size_t i = 0; i < values.size(); ++i)
      q[first + i] = static_cast<std::int8_t>(std::nearbyint(values[i] * inverse));
  }
}

}  // namespace krasis
