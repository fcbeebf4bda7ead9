// A prompt's experts by way of a ring in device memory: every layer's crosses the link once a pass,
// some layers ahead of the ops (residency/pass_plan.h), and all of the prompt's tokens go through
// it. Experts in slots are not copied.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cuda/devices.h"
#include "cuda/launch.h"
#include "cuda/placed_experts.h"
#include "cuda/runtime.h"
#include "ops/experts.h"
#include "residency/pass_plan.h"

namespace krasis::cuda {

class RingExperts {
 public:
  // The placement's mode has a plan. Throws Error(OutOfMemory).
  explicit RingExperts(const PlacedContext& context);

  // Starts the first copies; run() is called `parts` times for each layer in turn. Until the last
  // call, what is in which slot stays as it is. A pass that was not finished is left as it is.
  void begin_pass(std::int64_t parts);
  void run(const Experts& op, const Launch& launch, const Add* sum);

  // As pass_times() in cuda/devices.h.
  std::vector<LayerTimes> times() const;

 private:
  struct Layer {
    std::size_t first_entry;  // in the table
    std::byte* in_ring = nullptr;
    Event copying{Event::Timing::Yes}, loaded{Event::Timing::Yes};
    Event computing{Event::Timing::Yes}, done{Event::Timing::Yes};
  };

  Layer& layer(int number) { return layers_[static_cast<std::size_t>(number)]; }
  void write_table();
  void advance();  // takes steps until one that waits for the ops
  void load(const PassStep& step);

  const PlacedContext& context_;
  std::vector<PassStep> steps_;
  std::vector<Layer> layers_;
  std::vector<const std::byte*> addresses_;  // [entries] of the pass, as the device sees them
  Buffer table_;                             // [entries]
  Event begun_{Event::Timing::Yes};

  std::size_t next_step_ = 0;
  std::int64_t parts_ = 0, parts_done_ = 0;  // the second of the current layer
  bool passed_ = false;                      // the last pass came to its end
  std::vector<int> in_slot_;                 // of the ring: the last layer that was loaded, or -1
};

}  // namespace krasis::cuda
