// What goes where: VRAM and RAM by component, decided from sizes alone before anything is
// allocated. A device's room is divided so that more of it never means a shorter context, fewer
// experts in it or passes (up to 8192 tokens) that share a copy of the experts less, and where it
// is too small the plan steps down instead of failing: all experts resident, layers in groups, one
// layer at a time; a smaller pass, one sequence. RAM holds what it must or the plan fails.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "arch/model_spec.h"
#include "budget/weight_types.h"
#include "residency/placement.h"

namespace krasis {

// Of the driver, for its context, the kernels' code and the graphs of steps.
constexpr std::uint64_t kDriverBytes = std::uint64_t{640} << 20;

// Above this share of the RAM a model is refused: the rest of the system needs some.
constexpr double kMostRamShare = 0.95;

struct DeviceRoom {
  std::uint64_t bytes = 0;        // that may be used, of the device or of a limit
  std::uint64_t fixed_bytes = 0;  // the backend takes for itself (residency/device_sizes.h)
  std::uint64_t driver_bytes = kDriverBytes;
};

struct PlanRequest {
  WeightTypes weights;
  std::optional<DeviceRoom> device;            // none: the processor alone
  std::uint64_t ram_bytes = 0;                 // that are free; 0: not known, taken to be enough
  bool force = false;                          // although RAM is too small
  bool maps_experts = false;                   // as stored: read where the checkpoint is mapped
  std::optional<std::int64_t> expert_divisor;  // features.md: 1, N, -1, 0; none: auto
  std::int64_t prompt_threshold = -1;          // ExpertPlacement
  std::int64_t context_length = 0;             // 0: the model's own, as far as there is room
  std::int64_t max_sequences = 1;
  std::int64_t prompt_chunk = 0;  // tokens of a pass; 0: as many as there is room for
  std::int64_t logit_rows = 0;    // 0: one a sequence
  std::int64_t page_tokens = 64;
  std::uint64_t page_bytes = 0;  // of key-value cache, over all layers
  std::uint64_t slot_bytes = 0;  // of recurrent state, a sequence
};

struct Component {
  std::string_view name;
  std::uint64_t bytes = 0;
};
std::uint64_t total_bytes(const std::vector<Component>& components);

struct Plan {
  std::string mode;  // "auto", "persistent", "grouped(4)", ..., "processor"
  bool on_device = false;
  bool all_resident = true;   // no expert is streamed
  ExpertPlacement placement;  // where experts are streamed
  std::int64_t resident_experts = 0, experts = 0;
  std::int64_t pass_tokens = 0;  // of prompts, between two steps of writing
  std::int64_t part_tokens = 0;  // of a pass, that go through a layer at a time
  std::int64_t sequences = 0;    // at the same time
  std::int64_t context_tokens = 0;
  std::uint64_t cache_bytes = 0;  // key-value pages
  std::uint64_t workspace_bytes = 0;
  std::uint64_t streamed_bytes = 0;     // experts that cross the link once a pass
  std::uint64_t token_cache_bytes = 0;  // of keys and values, a token of context
  std::uint64_t state_bytes = 0;        // recurrent, of a sequence
  std::vector<Component> vram, ram;     // `vram` is empty on the processor
  std::uint64_t mapped_bytes = 0;       // of `ram`: experts that need no memory of their own
  std::vector<std::string> notes;       // what it stepped down from, a sentence each
};

// What of `ram` must be free.
std::uint64_t needed_ram(const Plan& plan);

// Throws Error(OutOfMemory) with the sizes and the smallest change that makes it fit where the
// device is too small even for the last step or RAM for any, Error(InvalidArgument) for settings
// that mean nothing.
Plan make_plan(const ModelSpec& spec, const PlanRequest& request);

// The same; nothing where the device or RAM is too small.
std::optional<Plan> plan_if_it_fits(const ModelSpec& spec, const PlanRequest& request);

}  // namespace krasis
