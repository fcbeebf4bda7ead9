// Why devices cannot be used, one sentence each.
#pragma once

#include <cuda_runtime_api.h>
#include <string>

#include "cuda/devices.h"

namespace krasis::cuda {

// What cudaGetDeviceCount() answered if there are none, and the newest CUDA that the driver knows
// (12040: 12.4), 0 without a driver.
std::string no_devices_problem(cudaError_t result, int driver_version);

// Of a device of that compute capability; empty if there is none.
std::string capability_problem(const Device& device, int major, int minor);

}  // namespace krasis::cuda
