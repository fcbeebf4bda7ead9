#include "cuda/devices.h"

#include <gtest/gtest.h>

#include "base/error.h"
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
