#include "cuda/devices.h"

#include "base/error.h"
#include "cuda/cuda_ops.h"
#include "cuda/runtime.h"

namespace krasis::cuda {
namespace {

constexpr int kLeastCapability = 80;  // BF16 tensor cores, cp.async

// 12040 is 12.4.
std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

std::string no_devices_problem(cudaError_t result) {
  int driver = 0;
  static_cast<void>(cudaDriverGetVersion(&driver));
  if (driver == 0) return "no NVIDIA driver is installed";
  if (result == cudaErrorNoDevice) return "no NVIDIA GPU was found";
  if (result == cudaErrorInsufficientDriver) {
    return "the NVIDIA driver knows CUDA " + version_text(driver) + ", CUDA " +
           version_text(CUDART_VERSION) + " is needed; install a newer driver";
  }
  return "the NVIDIA driver answers: " + std::string(cudaGetErrorString(result));
}

Device describe(int index) {
  Device device = {.index = index, .name = {}, .total_bytes = 0, .free_bytes = 0, .problem = {}};
  cudaDeviceProp properties{};
  if (const cudaError_t result = cudaGetDeviceProperties(&properties, index);
      result != cudaSuccess) {
    device.problem = "GPU " + std::to_string(index) + " answers: " + cudaGetErrorString(result);
    return device;
  }
  device.name = properties.name;
  device.total_bytes = properties.totalGlobalMem;
  const int capability = properties.major * 10 + properties.minor;
  if (capability < kLeastCapability) {
    device.problem = "GPU " + std::to_string(index) + " (" + device.name +
                     ") has compute capability " + std::to_string(properties.major) + "." +
                     std::to_string(properties.minor) + ", at least 8.0 is needed";
    return device;
  }
  std::size_t total = 0;
  cudaError_t result = cudaSetDevice(index);
  if (result == cudaSuccess) result = cudaMemGetInfo(&device.free_bytes, &total);
  if (result != cudaSuccess) {
    device.problem = "GPU " + std::to_string(index) + " (" + device.name +
                     ") cannot be used: " + cudaGetErrorString(result);
  }
  return device;
}

}  // namespace

Devices list_devices() {
  int count = 0;
  Devices devices;
  const cudaError_t result = cudaGetDeviceCount(&count);
  if (result != cudaSuccess || count == 0) {
    devices.problem = no_devices_problem(result == cudaSuccess ? cudaErrorNoDevice : result);
    static_cast<void>(cudaGetLastError());
    return devices;
  }
  for (int index = 0; index < count; ++index) devices.found.push_back(describe(index));
  static_cast<void>(cudaGetLastError());
  return devices;
}

std::unique_ptr<Ops> make_cuda_ops(const DeviceOptions& options) {
  const Devices devices = list_devices();
  if (!devices.problem.empty()) throw Error(ErrorCode::Device, "cuda: " + devices.problem);
  if (options.index < 0 || options.index >= static_cast<int>(devices.found.size())) {
    throw Error(ErrorCode::Device, "cuda: there is no GPU " + std::to_string(options.index) +
                                       ", this machine has " +
                                       std::to_string(devices.found.size()) +
                                       ", counted from 0; choose another --selected-gpus");
  }
  const Device& device = devices.found[static_cast<std::size_t>(options.index)];
  if (!device.problem.empty()) throw Error(ErrorCode::Device, "cuda: " + device.problem);
  return std::make_unique<CudaOps>(device, options);
}

std::span<const ExpertMatrices> place_experts(Ops& ops, std::span<const ExpertMatrices> layers,
                                              const ExpertPlacement& placement, Ops& processor) {
  return static_cast<CudaOps&>(ops).place_experts(layers, placement, processor);
}

std::vector<WayTimes> way_times(const Ops& ops) {
  return static_cast<const CudaOps&>(ops).way_times();
}

std::vector<float> expert_heat(const Ops& ops) {
  return static_cast<const CudaOps&>(ops).placed().expert_heat();
}

void set_expert_heat(Ops& ops, std::span<const float> heat) {
  static_cast<CudaOps&>(ops).placed().set_expert_heat(heat);
}

std::vector<LayerTimes> pass_times(const Ops& ops) {
  return static_cast<const CudaOps&>(ops).pass_times();
}

}  // namespace krasis::cuda
