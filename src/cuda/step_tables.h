// A step's segments and page tables, written into device memory as one copy.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cuda/launch.h"
#include "cuda/runtime.h"
#include "ops/attention.h"
#include "ops/memory.h"

namespace krasis::cuda {

// How the tables lie behind one another, and the counts that go with them: arithmetic only. Two
// steps of the same plan have their tables at the same places, so that the graph of one serves the
// other; upper bounds are rounded up for that.
struct StepPlan {
  StepPlan(std::span<const Segment> segments, std::int64_t tokens);

  int segments = 0, tokens = 0, max_rows = 0, max_context = 0, page_stride = 0;

  std::size_t words() const;  // int32 of all tables
  // Writes all tables to `to` [words()].
  void write(std::span<const Segment> from, std::int32_t* to) const;
  // The tables as kernels see them when they begin at `at`.
  StepTables tables(const int* at) const;

  friend auto operator<=>(const StepPlan&, const StepPlan&) = default;
};

class StepTableWriter {
 public:
  // `memory` outlives it; `max_words`: of the largest step.
  StepTableWriter(Memory& memory, std::size_t max_words);

  // Queues the copy. Throws Error(InvalidArgument) if the step is larger than max_words.
  StepTables write(const StepPlan& plan, std::span<const Segment> segments, const Stream& stream);

 private:
  PinnedBuffer staging_;
  Buffer tables_;
  Event copied_;
};

}  // namespace krasis::cuda
