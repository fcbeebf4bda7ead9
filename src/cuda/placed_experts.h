// Routed experts that lie in the program's own memory and of which the device holds some: runs an
// experts op by whatever way suits the step. One class a way:
//   ring_experts.h    prompts: whole layers streamed through a ring, one pass over the experts
//   way_experts.h     shorter prompts: resident, copied and on the processor at the same time
//   decode_experts.h  steps that are repeated as graphs: resident on the device, the others on the
//                     processor through a mailbox
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "cuda/devices.h"
#include "cuda/expert_copies.h"
#include "cuda/expert_slots.h"
#include "cuda/launch.h"
#include "cuda/runtime.h"
#include "ops/ops.h"
#include "residency/learned_rates.h"
#include "residency/placement.h"

namespace krasis::cuda {

// What every way works with. All of it outlives the ways.
struct PlacedContext {
  std::span<const ExpertMatrices> layers;  // in the program's own memory, pinned
  const ExpertPlacement& placement;
  LearnedRates& rates;  // those of the placement at first
  ExpertSlots& slots;
  ExpertCopies& copies;
  std::span<std::byte> ring;  // device memory: placement.ring_layers times the largest layer
  Memory& memory;             // the device's
  const Stream& main;         // that the ops are queued on
  Ops& processor;             // computes experts where they lie
};

class DecodeExperts;
class ExpertSwaps;
class StepPartner;
class RingExperts;
class WayExperts;

class PlacedExperts {
 public:
  PlacedExperts(std::span<const ExpertMatrices> layers, const ExpertPlacement& placement,
                Memory& memory, const Stream& main, Ops& processor, ExpertCopies::Pinning pinning);
  ~PlacedExperts();

  // As given, each with its number; valid as long as this is.
  std::span<const ExpertMatrices> layers() const { return layers_; }

  void begin_pass(std::int64_t tokens, std::int64_t parts);
  void end_pass();

  // Before a step of so many tokens that is no pass, and after its end: throws Error(Device) if its
  // results are worth nothing.
  void begin_step(std::int64_t tokens);
  void check_step();
  StepPartner& step_partner();

  // As in cuda/devices.h.
  const std::vector<float>& expert_heat() const;
  DecodePairs decode_pairs() const;
  DecodeTimes decode_times() const;
  void set_expert_heat(std::span<const float> heat);

  // The processor has no part in the pass under way.
  bool stays_on_device() const { return in_pass_ && !by_ways_; }

  // In a pass by ring or by ways, else as decode does.
  // `sum` as experts_at() takes it; nullptr unless stays_on_device().
  void run(const Experts& op, const Launch& launch, const Add* sum = nullptr);

  // As pass_times() in cuda/devices.h.
  std::vector<LayerTimes> pass_times() const;
  // As way_times() in cuda/devices.h.
  std::vector<WayTimes> way_times() const;

 private:
  bool goes_by_ways(std::int64_t tokens, std::int64_t parts) const;
  void fill_slots();

  std::vector<ExpertMatrices> layers_;
  ExpertPlacement placement_;
  LearnedRates rates_;
  Buffer ring_;
  ExpertSlots slots_;
  ExpertCopies copies_;
  PlacedContext context_;
  std::unique_ptr<ExpertSwaps> swaps_;
  std::unique_ptr<DecodeExperts> decode_experts_;
  std::int64_t pass_tokens_ = 0;
  std::unique_ptr<RingExperts> ring_experts_;  // nullptr: the mode streams no layers
  std::unique_ptr<WayExperts> way_experts_;
  std::int64_t top_k_ = 8;  // of the last op; what models mostly have before there was one
  bool in_pass_ = false;
  bool by_ways_ = false;  // the pass
};

}  // namespace krasis::cuda
