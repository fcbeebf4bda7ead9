#include "model/batch.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/error.h"

namespace krasis {
namespace {

[[noreturn]] void fail(std::string what) {
  throw Error(ErrorCode::InvalidArgument, "batch: " + std::move(what));
}

void check_segment(const Batch& batch, std::size_t number, const StateSize& size) {
  const Segment& segment = batch.segments[number];
  if (segment.past < 0) fail(fmt::format("segment {} has {} past tokens", number, segment.past));
  if (segment.slot < 0 || segment.slot >= size.slots)
    fail(fmt::format("segment {} has slot {} of {}", number, segment.slot, size.slots));
  const std::int64_t room = static_cast<std::int64_t>(segment.pages.size()) * size.page_tokens;
  if (segment.past > room - segment.rows) {
    fail(fmt::format("segment {} holds {} + {} tokens, its pages {}", number, segment.past,
                     segment.rows, room));
  }
  for (std::int64_t row = 0; row < segment.rows; ++row) {
    const std::int32_t position =
        batch.positions[static_cast<std::size_t>(segment.first_row + row)];
    if (position != segment.past + row) {
      fail(fmt::format("row {} of segment {} has position {} after {} past tokens", row, number,
                       position, segment.past));
    }
  }
}

}  // namespace

std::vector<Batch> split(const Batch& batch, std::int64_t tokens) {
  ensure(tokens >= 1, "batch: parts of no tokens");
  std::vector<Batch> parts;
  for (const Segment& segment : batch.segments) {
    for (std::int64_t done = 0; done < segment.rows;) {
      if (parts.empty() || parts.back().tokens() == tokens) parts.emplace_back();
      Batch& part = parts.back();
      const std::int64_t rows = std::min(segment.rows - done, tokens - part.tokens());
      Segment piece = segment;
      piece.first_row = part.tokens();
      piece.rows = rows;
      piece.past = segment.past + done;
      part.segments.push_back(piece);
      const auto from = segment.first_row + done;
      part.ids.insert(part.ids.end(), batch.ids.begin() + from, batch.ids.begin() + from + rows);
      part.positions.insert(part.positions.end(), batch.positions.begin() + from,
                            batch.positions.begin() + from + rows);
      done += rows;
    }
  }
  return parts;
}

void check(const Batch& batch, const StateSize& size) {
  if (batch.positions.size() != batch.ids.size())
    fail(fmt::format("{} ids, {} positions", batch.ids.size(), batch.positions.size()));
  std::int64_t next = 0;
  for (std::size_t s = 0; s < batch.segments.size(); ++s) {
    const Segment& segment = batch.segments[s];
    if (segment.first_row != next || segment.rows < 1 || segment.rows > batch.tokens() - next) {
      fail(fmt::format("segment {} is rows [{}, +{}), but the next row is {} of {}", s,
                       segment.first_row, segment.rows, next, batch.tokens()));
    }
    check_segment(batch, s, size);
    next += segment.rows;
  }
  if (next != batch.tokens())
    fail(fmt::format("segments hold {} of {} tokens", next, batch.tokens()));
  std::int64_t last = -1;
  for (const std::int32_t row : batch.logit_rows) {
    if (row <= last || row >= batch.tokens())
      fail(fmt::format("logit row {} follows row {} of {} tokens", row, last, batch.tokens()));
    last = row;
  }
}

}  // namespace krasis
