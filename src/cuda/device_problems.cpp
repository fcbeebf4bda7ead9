#include "cuda/device_problems.h"

namespace krasis::cuda {
namespace {

constexpr int kLeastCapability = 80;  // BF16 tensor cores, cp.async

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

}  // namespace

std::string no_devices_problem(cudaError_t result, int driver_version) {
  if (driver_version == 0) return "no NVIDIA driver is installed";
  if (result == cudaErrorNoDevice) return "no NVIDIA GPU was found";
  if (result == cudaErrorInsufficientDriver && driver_version < CUDART_VERSION) {
    return "the NVIDIA driver knows CUDA " + version_text(driver_version) + ", CUDA " +
           version_text(CUDART_VERSION) + " is needed; install a newer driver";
  }
  return "the NVIDIA driver answers: " + std::string(cudaGetErrorString(result));
}

std::string capability_problem(const Device& device, int major, int minor) {
  if (major * 10 + minor >= kLeastCapability) return "";
  return "GPU " + std::to_string(device.index) + " (" + device.name + ") has compute capability " +
         std::to_string(major) + "." + std::to_string(minor) + ", at least 8.0 is needed";
}

}  // namespace krasis::cuda
