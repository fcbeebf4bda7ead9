// Which device a model runs on, and what goes where there.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>

#include "app/model_options.h"
#include "budget/plan.h"
#include "cuda/devices.h"

namespace krasis {

// Declares --selected-gpus, --vram-limit, --vram-reserve, --expert-divisor and
// --gpu-prefill-threshold; and --num-gpus and --pp-partition, which refuse more than one GPU.
void declare_device_options(CLI::App& command, DeviceSelection& selection);

// How the options keep a model's weights; a number that is kept as stored has `stored_bytes`.
WeightTypes weight_types(const ModelOptions& options, const ModelSpec& spec,
                         std::int64_t stored_bytes = 2);

// What the options ask of a plan for the processor; a device's room is yet to be added.
PlanRequest plan_request(const ModelOptions& options, const ModelSpec& spec,
                         const WeightTypes& types);

// Of a device with `bytes` of memory: the limit's part of it, less what the options keep free.
DeviceRoom device_room(const DeviceSelection& selection, std::uint64_t bytes);

struct DeviceChoice {
  cuda::DeviceOptions options;
  PlanRequest request;
  Plan plan;
};

// The device to use, or nothing for the processor. Where no device was named, tries all of them in
// turn and says in one line of the log why it is none; where one was, throws Error(Device) if it
// cannot be used and Error(OutOfMemory) with the remedy if its memory or the limit is too small.
std::optional<DeviceChoice> choose_device(const DeviceSelection& selection, const ModelSpec& spec,
                                          const PlanRequest& request);

}  // namespace krasis
