#include "gpu/device.h"

#include <cuda_runtime_api.h>

#include "conformance/support.h"
#include "gpu/staged_ops.h"

namespace krasis::test {
namespace {

// Skips every test of the program where there is no GPU. One that cannot be used is a failure: it
// may be ours.
class NeedsDevice final : public testing::Environment {
 public:
  void SetUp() override {
    int driver = 0;
    int count = 0;
    ASSERT_EQ(cudaDriverGetVersion(&driver), cudaSuccess);
    const bool none = driver == 0 || cudaGetDeviceCount(&count) == cudaErrorNoDevice;
    const cuda::Devices devices = cuda::list_devices();
    if (none) GTEST_SKIP() << "no device: " << devices.problem;
    ASSERT_EQ(devices.problem, "");
    ASSERT_EQ(devices.found.front().problem, "");
  }
};
const testing::Environment* const kNeedsDevice =
    testing::AddGlobalTestEnvironment(new NeedsDevice);  // gtest owns it

}  // namespace

std::unique_ptr<Ops> make_device_ops(const cuda::DeviceOptions& options) {
  return cuda::make_cuda_ops(options);
}

Ops& device_ops() {
  static const std::unique_ptr<Ops> ops = make_device_ops();
  return *ops;
}

void for_each_backend(const std::function<void(Ops&)>& test) {
  StagedOps staged(device_ops());
  test(staged);
}

// BF16 keeps 8 bits: a product of two rounded numbers is off by 2^-8 at most, a sum of many by
// less.
double rounded(double /*limit*/) {
  return 1e-2;
}

// The oracle rounds x to 1/127 of its group's largest number, twice in an expert; where a group has
// a handful of numbers that do not average out, a few of those roundings are the result's error.
double unquantized(double /*limit*/) {
  return 3e-2;
}

}  // namespace krasis::test
