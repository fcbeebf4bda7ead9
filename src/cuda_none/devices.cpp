#include "cuda/devices.h"

namespace krasis::cuda {

Devices list_devices() {
  return {.found = {}, .problem = "built without CUDA"};
}

std::string Devices::problem_with(int /*index*/) const {
  return problem;
}

std::unique_ptr<Ops> make_cuda_ops(const DeviceOptions& /*options*/) {
  throw Error(ErrorCode::Device, "cuda: this program was built without CUDA");
}

std::span<const ExpertMatrices> place_experts(Ops& /*ops*/,
                                              std::span<const ExpertMatrices> /*layers*/,
                                              const ExpertPlacement& /*placement*/,
                                              Ops& /*processor*/) {
  throw Error(ErrorCode::Device, "cuda: this program was built without CUDA");
}

double measure_link_rate(Ops& /*ops*/) {
  throw Error(ErrorCode::Device, "cuda: this program was built without CUDA");
}

DecodeTimes decode_times(const Ops& /*ops*/) {
  return {};
}

DecodePairs decode_pairs(const Ops& /*ops*/) {
  return {};
}

std::vector<WayTimes> way_times(const Ops& /*ops*/) {
  return {};
}

std::vector<float> expert_heat(const Ops& /*ops*/) {
  throw Error(ErrorCode::Device, "cuda: this program was built without CUDA");
}

void set_expert_heat(Ops& /*ops*/, std::span<const float> /*heat*/) {
  throw Error(ErrorCode::Device, "cuda: this program was built without CUDA");
}

std::vector<LayerTimes> pass_times(const Ops& /*ops*/) {
  return {};
}

}  // namespace krasis::cuda
