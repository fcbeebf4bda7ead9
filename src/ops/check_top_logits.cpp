#include <algorithm>

#include "ops/check.h"
#include "ops/top_logits.h"

namespace krasis {

using ops_check::require;
using ops_check::shape_of;

void check(const TopLogits& op) {
  constexpr const char* kName = "top_logits";
  ops_check::rows(kName, "logits", op.logits);
  if (op.logits.rows == 0) return;
  require(op.count > 0 && op.count <= std::min(op.logits.cols, kMostTopLogits), kName, [&] {
    return "the " + std::to_string(op.count) + " highest of " + shape_of(op.logits) +
           " cannot be found, 1 to " + std::to_string(kMostTopLogits) + " can, within a row";
  });
  const auto fits = [&](std::size_t size) {
    return size % static_cast<std::size_t>(op.count) == 0 &&
           static_cast<std::int64_t>(size) / op.count == op.logits.rows;
  };
  require(fits(op.ids.size()) && fits(op.values.size()), kName, [&] {
    return "ids [" + std::to_string(op.ids.size()) + "], values [" +
           std::to_string(op.values.size()) + "] do not hold " + std::to_string(op.count) +
           " of each of " + std::to_string(op.logits.rows) + " rows";
  });
  ops_check::distinct(kName, "values",
                      {op.values.data(), 1, static_cast<std::int64_t>(op.values.size())}, "logits",
                      op.logits, ops_check::InPlace::No);
}

}  // namespace krasis
