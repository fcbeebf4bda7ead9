#include "cpu/tile_split.h"

#include <algorithm>

namespace krasis::cpu {
namespace {

constexpr std::int64_t kOwnPercent = 70;       // an efficiency core still ends its run in time
constexpr std::int64_t kPiecesPerWorker = 32;  // of the whole; one piece is how uneven the end is

}  // namespace

void TileSplit::plan(std::span<StripSegment> segments, int workers) {
  segments_ = segments;
  workers_ = workers;
  total_ = 0;
  for (StripSegment& segment : segments_) {
    segment.start = total_;
    total_ += segment.strips * segment.cost;
  }
  own_ = workers == 1 ? total_ : total_ * kOwnPercent / 100 / workers;
  piece_ = std::max<std::int64_t>(total_ / (kPiecesPerWorker * workers), 1);
  next_.store(0, std::memory_order_relaxed);
}

std::size_t TileSplit::segment_at(std::int64_t position) const {
  const auto after = std::ranges::upper_bound(segments_, position, {}, &StripSegment::start);
  return static_cast<std::size_t>(std::max<std::ptrdiff_t>(after - segments_.begin() - 1, 0));
}

std::int64_t TileSplit::strips_before(const StripSegment& segment, std::int64_t position) {
  const std::int64_t past = std::max<std::int64_t>(position - segment.start, 0);
  return std::min((past + segment.cost - 1) / segment.cost, segment.strips);
}

}  // namespace krasis::cpu
