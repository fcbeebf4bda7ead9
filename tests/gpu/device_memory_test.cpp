#include <numeric>

#include "base/error.h"
#include "gpu/device.h"

namespace krasis {
namespace {

TEST(DeviceMemory, CopiesBothWaysInPiecesOfAnySize) {
  Memory& memory = test::device_ops().memory();
  EXPECT_FALSE(memory.is_host());
  EXPECT_GT(memory.free_bytes(), 0U);
  for (const std::size_t count : {std::size_t{1}, std::size_t{5000}, std::size_t{17} << 20}) {
    std::vector<std::int32_t> values(count), back(count);
    std::iota(values.begin(), values.end(), 7);
    const Buffer buffer = memory.allocate(count * sizeof(std::int32_t));
    memory.download(back.data(), buffer.data(), buffer.bytes());
    EXPECT_EQ(back, std::vector<std::int32_t>(count));
    memory.upload(buffer.data(), values.data(), buffer.bytes());
    memory.download(back.data(), buffer.data(), buffer.bytes());
    EXPECT_EQ(back, values);
  }
}

TEST(DeviceMemory, EndsAtTheLimit) {
  const auto ops = test::make_device_ops(
      {.vram_limit_bytes = std::size_t{256} << 20, .scratch_bytes = std::size_t{64} << 20});
  Memory& memory = ops->memory();
  const std::size_t free = memory.free_bytes();
  EXPECT_LT(free, std::size_t{192} << 20);
  const Buffer most = memory.allocate(free);
  try {
    const Buffer more = memory.allocate(1);
    FAIL() << "there was room";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::OutOfMemory);
    EXPECT_STREQ(error.what(),
                 "cuda: 1 bytes more than the 268435456 in use exceed the limit of 268435456; "
                 "raise --vram-limit or use a smaller context");
  }
}

TEST(DeviceMemory, SaysWhenTheDeviceItselfHasNoMore) {
  const auto ops = test::make_device_ops({.scratch_bytes = std::size_t{64} << 20});
  try {
    const Buffer all = ops->memory().allocate(std::size_t{1} << 50);
    FAIL() << "there was room";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::OutOfMemory);
    EXPECT_STREQ(error.what(),
                 "cuda: allocating 1125899906842624 bytes of device memory: out of memory");
  }
  EXPECT_NO_THROW(ops->synchronize());
}

TEST(Devices, RefusesANumberThatIsNoDevice) {
  try {
    test::make_device_ops({.index = 4096});
    FAIL() << "there are so many";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::Device);
  }
}

}  // namespace
}  // namespace krasis
