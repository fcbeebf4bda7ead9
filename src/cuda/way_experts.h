// Experts of shorter prompts, divided layer by layer after the routing (residency/divide.h): those
// in slots run where they are, some are copied to the ring's memory and run there, the others run
// on the processor, all at the same time. The host waits once a call, for the routing. A prompt
// that will choose nearly all experts of the next layer has some of them copied ahead, so that the
// link is not idle while the device does the rest of a layer.
//
// Sums: residents first, then what was copied, round by round, then the processor's: a different
// order than with all experts in one place, and the processor rounds to 8 bits what the device
// rounds to BF16. Without the processor, and where one round is enough, the bits are those of all
// experts resident.
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "cuda/devices.h"
#include "cuda/launch.h"
#include "cuda/placed_experts.h"
#include "cuda/runtime.h"
#include "ops/experts.h"
#include "residency/divide.h"

namespace krasis::cuda {

class WayExperts {
 public:
  explicit WayExperts(const PlacedContext& context);

  // A prompt of `tokens`, for which run() is called for each layer, in so many parts. Until the
  // last call, what is in which slot stays as it is.
  void begin_pass(std::int64_t tokens, std::int64_t parts);
  void run(const Experts& op, const Launch& launch);

  // As way_times() in cuda/devices.h.
  std::vector<WayTimes> times() const;

 private:
  // Of the ring's memory, for the experts of a round.
  struct Area {
    std::byte* memory = nullptr;
    Event used;  // the ops have read it
  };
  struct Clock {
    WayTimes counts;
    Event routed{Event::Timing::Yes}, residents{Event::Timing::Yes};
    Event copying{Event::Timing::Yes}, copied{Event::Timing::Yes}, done{Event::Timing::Yes};
  };
  // Copies for the next layer that were queued before its routing.
  struct Ahead {
    int layer = -1;
    std::vector<std::int32_t> experts;  // in this order from the beginning of the area
    Area* area = nullptr;
  };
  struct Call;

  bool all_resident(int layer) const;
  void download(const Experts& op, Clock& clock);
  void divide_experts(const Experts& op, Clock& clock);
  void run_copies(Call& call, Clock& clock);
  Area& next_area();
  void copy_experts(int layer, std::span<const std::int32_t> experts, std::byte* to);
  void copy_ahead(const Experts& op);
  void run_processor(Call& call, Clock& clock);
  void run_at(Call& call, const std::byte* const* table);
  Clock& next_clock();

  const PlacedContext& context_;
  ExpertPlacement placement_;  // with the rates of this pass
  double prompt_factor_ = 1;   // that they were made with
  AllowedWays allowed_;
  bool whole_ = true;  // the pass has one part
  std::deque<Area> areas_;
  std::size_t area_experts_ = 0;
  std::size_t next_area_ = 0;
  Event begun_, downloaded_;

  // What the host knows of a call, in pinned memory that grows with the largest one.
  PinnedBuffer ids_, weights_, x_, sums_, addresses_;
  std::vector<std::int32_t> tokens_;  // [experts] of the layer
  std::vector<Way> ways_;             // [experts]
  double processor_seconds_ = 0;      // predicted for these ways
  std::vector<std::int32_t> copies_;  // experts that are copied: those ahead, then ascending
  std::vector<std::vector<std::int32_t>> last_tokens_;  // [layers][experts] when they last ran
  Ahead ahead_;
  std::vector<std::int32_t> left_;  // [pairs] those of the processor's experts, else -1

  std::deque<Clock> clocks_;  // made once and used again
  std::size_t clocks_used_ = 0;
};

}  // namespace krasis::cuda
