// Keeps the experts in the device's memory the ones that are asked for: counts the routing there,
// and between steps exchanges a few cold residents for hot others. An expert that goes is out of
// the table before the copy over it is queued; one that comes is in the table only when its copy is
// over. Nothing waits for a copy.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "cuda/expert_slots.h"
#include "cuda/runtime.h"
#include "ops/memory.h"
#include "residency/hot_experts.h"

namespace krasis::cuda {

struct PlacedContext;

class ExpertSwaps {
 public:
  // Throws Error(OutOfMemory).
  explicit ExpertSwaps(const PlacedContext& context);
  ~ExpertSwaps();

  // [experts of the layer] in device memory: to be added to by who routes tokens.
  unsigned* counts(int layer) const;

  // Before a step of so many tokens is queued; not in the middle of a pass.
  void before_step(std::int64_t tokens);
  // A prompt of so many tokens has been routed: what it chose is looked at soon.
  void after_pass(std::int64_t tokens);

  // residency/hot_experts.h. set_heat() makes the hottest experts residents at once and waits for
  // that; before the first step.
  const std::vector<float>& heat() const { return hot_.heat(); }
  void set_heat(std::span<const float> heat);

  std::int64_t swaps() const { return swaps_; }  // so far, complete ones

 private:
  // Queued together, over together.
  struct Copies {
    std::vector<std::pair<std::size_t, std::int64_t>> experts;  // and their slots
    std::unique_ptr<Event> over;
  };
  ExpertSlots::Expert place_of(std::size_t expert) const;
  void mark_residents();
  void finish_copies();
  void look_at_counts();
  void start_copies(std::size_t most);

  const PlacedContext& context_;
  std::vector<std::size_t> first_;  // [layers + 1] number of each layer's first expert
  HotExperts hot_;
  Buffer counts_;      // [all] unsigned, over all layers
  PinnedBuffer seen_;  // [all] unsigned, as counts_ was when seen_ready_
  Event seen_ready_, tables_written_;
  bool looking_ = false;                  // seen_ready_ was recorded
  std::vector<std::uint32_t> looked_at_;  // [all] counts that hot_ knows of
  std::int64_t tokens_ = 0, steps_ = 0;   // since a look began
  std::vector<std::uint8_t> residents_;   // [all] as HotExperts::swaps() wants them
  std::deque<HotExperts::Swap> wanted_;
  std::deque<Copies> copies_;
  std::size_t under_way_ = 0;  // experts in copies_
  std::int64_t swaps_ = 0;
};

}  // namespace krasis::cuda
