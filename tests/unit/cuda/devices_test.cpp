#include "cuda/devices.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "cuda/device_problems.h"
#include "cuda/runtime.h"

namespace krasis::cuda {
namespace {

TEST(Devices, SayWhyThereAreNone) {
  const Devices devices = list_devices();
  EXPECT_EQ(devices.found.empty(), !devices.problem.empty());
  if (devices.found.empty()) {
    try {
      make_cuda_ops({});
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::Device);
      EXPECT_EQ(error.what(), "cuda: " + devices.problem);
    }
  }
}

TEST(Devices, SayWhatIsWrongInOneSentence) {
  EXPECT_EQ(no_devices_problem(cudaErrorInsufficientDriver, 0), "no NVIDIA driver is installed");
  EXPECT_EQ(no_devices_problem(cudaErrorNoDevice, 13000), "no NVIDIA GPU was found");
  EXPECT_EQ(no_devices_problem(cudaErrorInsufficientDriver, 12040),
            "the NVIDIA driver knows CUDA 12.4, CUDA " + std::to_string(CUDART_VERSION / 1000) +
                "." + std::to_string(CUDART_VERSION % 1000 / 10) +
                " is needed; install a newer driver");
  // A driver that is new enough and broken.
  EXPECT_EQ(no_devices_problem(cudaErrorInsufficientDriver, CUDART_VERSION),
            "the NVIDIA driver answers: CUDA driver version is insufficient for CUDA runtime "
            "version");
  EXPECT_EQ(no_devices_problem(cudaErrorSystemNotReady, 13000),
            "the NVIDIA driver answers: system not yet initialized");
  Device device;
  device.index = 1;
  device.name = "Tesla T4";
  EXPECT_EQ(capability_problem(device, 7, 5),
            "GPU 1 (Tesla T4) has compute capability 7.5, at least 8.0 is needed");
  EXPECT_EQ(capability_problem(device, 8, 0), "");
  EXPECT_EQ(capability_problem(device, 12, 0), "");

  device.problem = "it is broken";
  const Devices two = {.found = {Device{}, device}, .problem = {}};
  EXPECT_EQ(two.problem_with(0), "");
  EXPECT_EQ(two.problem_with(1), "it is broken");
  EXPECT_EQ(two.problem_with(2),
            "there is no GPU 2, this machine has 2, counted from 0; choose another "
            "--selected-gpus");
  const Devices none = {.found = {}, .problem = "no NVIDIA GPU was found"};
  EXPECT_EQ(none.problem_with(0), "no NVIDIA GPU was found");
}

TEST(Check, NamesTheCallAndTheReason) {
  EXPECT_NO_THROW(check(cudaSuccess, "nothing"));
  try {
    check(cudaErrorInvalidValue, "copying a step's tables");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::Device);
    EXPECT_STREQ(error.what(), "cuda: copying a step's tables: invalid argument");
  }
  try {
    check(cudaErrorMemoryAllocation, "allocating");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::OutOfMemory);
  }
}

TEST(Scratch, GivesAlignedPiecesUntilItIsUsedUp) {
  alignas(256) static std::byte memory[1024];
  Scratch scratch(memory, sizeof memory);
  EXPECT_EQ(scratch.take(1), memory);
  EXPECT_EQ(scratch.take_as<float>(64), reinterpret_cast<float*>(memory + 256));
  try {
    scratch.take(513);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::OutOfMemory);
    EXPECT_STREQ(error.what(),
                 "cuda: an operation needs 513 bytes beside 512 of 1024 bytes of scratch memory; "
                 "use a smaller --prompt-chunk");
  }
  EXPECT_THROW(scratch.take(~std::size_t{0}), Error);
  EXPECT_EQ(scratch.take(512), memory + 512);
  scratch.give_back_all();
  EXPECT_EQ(scratch.take(1024), memory);
}

}  // namespace
}  // namespace krasis::cuda
