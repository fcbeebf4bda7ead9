#include <algorithm>
#include <limits>
#include <numeric>

#include "ops/reference.h"

namespace krasis::reference {

void top_logits(const TopLogits& op) {
  constexpr float kMost = std::numeric_limits<float>::max();
  std::vector<std::int32_t> order(static_cast<std::size_t>(op.logits.cols));
  for (std::int64_t r = 0; r < op.logits.rows; ++r) {
    const float* row = op.logits.row(r);
    const auto height = [&](std::int32_t column) {
      return row[column] <= kMost ? row[column] : std::numeric_limits<float>::infinity();
    };
    std::iota(order.begin(), order.end(), 0);
    std::ranges::stable_sort(order, std::greater<>(), height);
    for (std::int64_t j = 0; j < op.count; ++j) {
      const auto at = static_cast<std::size_t>(r * op.count + j);
      op.ids[at] = order[static_cast<std::size_t>(j)];
      op.values[at] = row[op.ids[at]];
    }
  }
}

}  // namespace krasis::reference
