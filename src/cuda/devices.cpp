#include "cuda/devices.h"

#include "base/error.h"
#include "cuda/cuda_ops.h"
#include "cuda/device_problems.h"
#include "cuda/runtime.h"

namespace krasis::cuda {
namespace {

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
  device.problem = capability_problem(device, properties.major, properties.minor);
  if (!device.problem.empty()) return device;
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
    int driver = 0;
    static_cast<void>(cudaDriverGetVersion(&driver));
    devices.problem =
        no_devices_problem(result == cudaSuccess ? cudaErrorNoDevice : result, driver);
    static_cast<void>(cudaGetLastError());
    return devices;
  }
  for (int index = 0; index < count; ++index) devices.found.push_back(describe(index));
  static_cast<void>(cudaGetLastError());
  return devices;
}

std::string Devices::problem_with(int index) const {
  if (!problem.empty()) return problem;
  if (index < 0 || index >= static_cast<int>(found.size())) {
    return "there is no GPU " + std::to_string(index) + ", this machine has " +
           std::to_string(found.size()) + ", counted from 0; choose another --selected-gpus";
  }
  return found[static_cast<std::size_t>(index)].problem;
}

std::unique_ptr<Ops> make_cuda_ops(const DeviceOptions& options) {
  const Devices devices = list_devices();
  const std::string problem = devices.problem_with(options.index);
  if (!problem.empty()) throw Error(ErrorCode::Device, "cuda: " + problem);
  const Device& device = devices.found[static_cast<std::size_t>(options.index)];
  return std::make_unique<CudaOps>(device, options);
}

std::span<const ExpertMatrices> place_experts(Ops& ops, std::span<const ExpertMatrices> layers,
                                              const ExpertPlacement& placement, Ops& processor) {
  return static_cast<CudaOps&>(ops).place_experts(layers, placement, processor);
}

double measure_link_rate(Ops& ops) {
  constexpr std::size_t kBytes = std::size_t{64} << 20;
  constexpr double kLeastMs = 20;
  const Buffer to = ops.memory().allocate(kBytes);
  const PinnedBuffer from(kBytes);
  const Stream stream;
  const Event start(Event::Timing::Yes), end(Event::Timing::Yes);
  ops.synchronize();
  for (int copies = 2;; copies *= 2) {
    start.record(stream);
    for (int i = 0; i < copies; ++i) {
      check(cudaMemcpyAsync(to.data(), from.data(), kBytes, cudaMemcpyHostToDevice, stream.get()),
            "measuring the link");
    }
    end.record(stream);
    end.synchronize();
    const double ms = end.ms_since(start);
    if (ms >= kLeastMs) return static_cast<double>(kBytes) * copies / ms * 1e3;
  }
}

DecodeTimes decode_times(const Ops& ops) {
  return static_cast<const CudaOps&>(ops).decode_times();
}

DecodePairs decode_pairs(const Ops& ops) {
  return static_cast<const CudaOps&>(ops).decode_pairs();
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
