// One step's work: tokens of one or several sequences, each sequence's tokens next to each other.
#pragma once

#include <cstdint>
#include <vector>

#include "ops/attention.h"

namespace krasis {

struct Batch {
  std::vector<std::int32_t> ids;         // [tokens]
  std::vector<std::int32_t> positions;   // [tokens]; of segment s: past, past + 1, ...
  std::vector<Segment> segments;         // page tables live as long as the batch is used
  std::vector<std::int32_t> logit_rows;  // rows whose logits are wanted, ascending

  std::int64_t tokens() const { return static_cast<std::int64_t>(ids.size()); }
};

}  // namespace krasis
