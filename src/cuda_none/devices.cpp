#include "cuda/devices.h"

namespace krasis::cuda {

Devices list_devices() {
  return {.found = {}, .problem = "built without CUDA"};
}

std::size_t fixed_device_bytes(std::size_t /*memory_bytes*/) {
  return 0;
}

std::unique_ptr<Ops> make_cuda_ops(const DeviceOptions& /*options*/) {
  throw Error(ErrorCode::Device, "cuda: this program was built without CUDA");
}

}  // namespace krasis::cuda
