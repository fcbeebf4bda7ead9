// Divides strips of tiled matrices over workers: each first takes one long run of its own, so that
// it streams from memory, and then short runs from what is left, so that all end together although
// some are slower (efficiency cores, other programs).
#pragma once

#include <atomic>
#include <cstdint>
#include <span>

namespace krasis::cpu {

// Strips of equal cost; segments follow each other.
struct StripSegment {
  std::int64_t strips = 0;
  std::int64_t cost = 1;   // of a strip, in any unit
  std::int64_t start = 0;  // cost of all segments before; set by TileSplit::plan()
};

class TileSplit {
 public:
  // Before the workers start. `segments` must live as long as they work.
  void plan(std::span<StripSegment> segments, int workers);

  // Calls work(segment, first strip, last strip) for runs of strips that no other worker gets,
  // until none is left.
  template <class Work>
  void run(int worker, Work&& work) {
    visit(worker * own_, (worker + 1) * own_, work);
    for (;;) {
      const std::int64_t piece = next_.fetch_add(1, std::memory_order_relaxed);
      const std::int64_t first = workers_ * own_ + piece * piece_;
      if (first >= total_) return;
      visit(first, first + piece_, work);
    }
  }

 private:
  // Strips whose start in the row of all costs lies in [first, last).
  template <class Work>
  void visit(std::int64_t first, std::int64_t last, Work&& work) const {
    for (std::size_t s = segment_at(first); s < segments_.size(); ++s) {
      const StripSegment& segment = segments_[s];
      if (segment.start >= last) return;
      const std::int64_t from = strips_before(segment, first);
      const std::int64_t to = strips_before(segment, last);
      if (from < to) work(s, from, to);
    }
  }

  std::size_t segment_at(std::int64_t position) const;
  static std::int64_t strips_before(const StripSegment& segment, std::int64_t position);

  std::span<StripSegment> segments_;
  std::int64_t workers_ = 1;
  std::int64_t total_ = 0;
  std::int64_t own_ = 0;    // cost of a worker's first run
  std::int64_t piece_ = 1;  // cost of each further one
  std::atomic<std::int64_t> next_{0};
};

}  // namespace krasis::cpu
