#include "cuda/step_tables.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <string>

#include "base/error.h"
#include "cuda/pinned_copy.h"

namespace krasis::cuda {
namespace {

// Steps of 1/8 of the power of two below, at least 256: a growing sequence meets few of them.
int rounded_context(std::int64_t tokens) {
  const auto value = static_cast<std::uint64_t>(tokens);
  const std::uint64_t step = std::max<std::uint64_t>(256, std::bit_floor(value) / 8);
  return static_cast<int>((value + step - 1) / step * step);
}

int narrow(std::int64_t value) {
  if (value < 0 || value > std::numeric_limits<std::int32_t>::max() / 2) {
    throw Error(ErrorCode::InvalidArgument,
                "cuda: a step with a size of " + std::to_string(value) + " cannot be run");
  }
  return static_cast<int>(value);
}

}  // namespace

StepPlan::StepPlan(std::span<const Segment> all, std::int64_t rows)
    : segments(narrow(static_cast<std::int64_t>(all.size()))), tokens(narrow(rows)) {
  std::size_t pages = 1;
  for (const Segment& segment : all) {
    max_rows = std::max(max_rows, narrow(segment.rows));
    max_context = std::max(max_context, rounded_context(narrow(segment.past + segment.rows)));
    pages = std::max(pages, segment.pages.size());
  }
  page_stride = narrow(static_cast<std::int64_t>(std::bit_ceil(pages)));
}

std::size_t StepPlan::words() const {
  const auto count = static_cast<std::size_t>(segments);
  return count * (4 + static_cast<std::size_t>(page_stride)) + static_cast<std::size_t>(tokens);
}

void StepPlan::write(std::span<const Segment> from, std::int32_t* to) const {
  std::int32_t* const pages = to + std::ptrdiff_t{4} * segments;
  std::int32_t* const segment_of_row = pages + std::ptrdiff_t{page_stride} * segments;
  std::fill_n(segment_of_row, tokens, -1);
  for (int s = 0; s < segments; ++s) {
    const Segment& segment = from[static_cast<std::size_t>(s)];
    to[s] = narrow(segment.first_row);
    to[segments + s] = narrow(segment.rows);
    to[2 * segments + s] = narrow(segment.past);
    to[3 * segments + s] = narrow(segment.slot);
    std::ranges::copy(segment.pages, pages + std::ptrdiff_t{page_stride} * s);
    std::fill_n(segment_of_row + segment.first_row, segment.rows, s);
  }
}

StepTables StepPlan::tables(const int* at) const {
  const int* const pages = at + std::ptrdiff_t{4} * segments;
  return {.segments = segments,
          .tokens = tokens,
          .max_rows = max_rows,
          .max_context = max_context,
          .first_row = at,
          .rows = at + segments,
          .past = at + std::ptrdiff_t{2} * segments,
          .slot = at + std::ptrdiff_t{3} * segments,
          .pages = pages,
          .page_stride = page_stride,
          .segment_of_row = pages + std::ptrdiff_t{page_stride} * segments};
}

StepTableWriter::StepTableWriter(Memory& memory, std::size_t max_words)
    : staging_(max_words * sizeof(std::int32_t)), tables_(memory.allocate(staging_.bytes())) {}

StepTables StepTableWriter::write(const StepPlan& plan, std::span<const Segment> segments,
                                  const Stream& stream) {
  const std::size_t bytes = plan.words() * sizeof(std::int32_t);
  if (bytes > staging_.bytes()) {
    throw Error(ErrorCode::InvalidArgument, "cuda: a step of " + std::to_string(plan.segments) +
                                                " sequences, " + std::to_string(plan.tokens) +
                                                " tokens and page tables of " +
                                                std::to_string(plan.page_stride) +
                                                " is too large; use a smaller "
                                                "--prompt-chunk or --context-length");
  }
  copied_.synchronize();  // the step before may still read the staging memory
  plan.write(segments, staging_.as<std::int32_t>());
  copy_from_pinned(tables_.data(), staging_.data(), plan.words(), stream.get());
  copied_.record(stream);
  return plan.tables(tables_.as<int>());
}

}  // namespace krasis::cuda
