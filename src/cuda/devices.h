// The GPUs of this machine and the operations on one of them. Names no type of CUDA; without the
// CUDA compiler src/cuda_none stands behind it and there are no GPUs.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "ops/ops.h"

namespace krasis::cuda {

struct Device {
  int index = 0;     // as the driver counts
  std::string name;  // "NVIDIA H100 80GB HBM3"
  std::size_t total_bytes = 0;
  std::size_t free_bytes = 0;  // 0 where it cannot be used
  std::string problem;         // why it cannot be used, one sentence; empty if it can
};

struct Devices {
  std::vector<Device> found;
  std::string problem;  // why there are none or none can be asked for: no GPU, no driver, ...
};

// Never throws for what the machine lacks.
Devices list_devices();

struct DeviceOptions {
  int index = 0;
  std::size_t vram_limit_bytes = 0;         // all that is allocated there; 0: what the device has
  std::size_t scratch_bytes = 0;            // for intermediate results of one op; 0: by device size
  std::size_t max_step_segments = 1024;     // sequences in a step
  std::size_t max_step_tokens = 1U << 17U;  // tokens in a step
  std::size_t max_step_pages = 1U << 20U;   // entries of all page tables together
};

// Operations whose pointers are memory of that device (Ops::memory()). Throws Error(Device) if it
// cannot be used, Error(OutOfMemory) where the memory or its limit is too small.
std::unique_ptr<Ops> make_cuda_ops(const DeviceOptions& options);

}  // namespace krasis::cuda
