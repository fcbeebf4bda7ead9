// One step's work: tokens of one or several sequences, each sequence's tokens next to each other.
#pragma once

#include <cstdint>
#include <vector>

#include "model/state.h"
#include "ops/attention.h"

namespace krasis {

struct Batch {
  std::vector<std::int32_t> ids;         // [tokens]
  std::vector<std::int32_t> positions;   // [tokens]; of segment s: past, past + 1, ...
  std::vector<Segment> segments;         // page tables live as long as the batch is used
  std::vector<std::int32_t> logit_rows;  // rows whose logits are wanted, ascending

  std::int64_t tokens() const { return static_cast<std::int64_t>(ids.size()); }
};

// The batch's rows in order, at most `tokens` a part, each a batch with the same page tables; no
// part asks for logits. A segment that is cut goes on in the next part.
std::vector<Batch> split(const Batch& batch, std::int64_t tokens);

// Throws Error(InvalidArgument) unless the segments are the batch's rows in order, without gaps,
// and positions, pages, slots and logit rows agree with them and with a state of that size.
void check(const Batch& batch, const StateSize& size);

}  // namespace krasis
