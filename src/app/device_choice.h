// Which device a model runs on.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>

#include "app/model_options.h"
#include "cuda/devices.h"

namespace krasis {

// Declares --selected-gpus and --vram-limit.
void declare_device_options(CLI::App& command, DeviceSelection& selection);

// What a model takes on a device, before anything is allocated.
struct DeviceNeed {
  std::uint64_t experts = 0;
  std::uint64_t dense = 0;
  std::uint64_t step = 0;  // cache, state and intermediate results of the smallest useful engine
};
DeviceNeed device_need(const ModelOptions& options, const ModelSpec& spec,
                       std::uint64_t expert_bytes);

// The device to use, or nothing for the processor. Where no device was named, says in one line of
// the log why it is not the first one; where one was, throws Error(Device) if it cannot be used and
// Error(OutOfMemory) with the sizes if its memory or the limit is too small.
std::optional<cuda::DeviceOptions> choose_device(const DeviceSelection& selection,
                                                 const DeviceNeed& need);

// Prompt tokens of one step: few on the processor, as many as keep it busy on a device.
std::int64_t prompt_chunk_for(Memory& memory);

}  // namespace krasis
