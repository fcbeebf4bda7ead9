#include "cuda/expert_copies.h"

#include <cstring>
#include <gtest/gtest.h>
#include <random>

#include "gpu/device.h"
#include "tensor/host_buffer.h"

namespace krasis {
namespace {

using cuda::ExpertCopies;

constexpr std::size_t kLayerBytes = std::size_t{200} << 20;  // several pieces of staging

// Two layers of made-up bytes in one piece of memory.
class Experts2 {
 public:
  Experts2() : memory_(2 * kLayerBytes) {
    std::mt19937_64 random(1);
    auto* words = memory_.as<std::uint64_t>();
    for (std::size_t i = 0; i < memory_.bytes() / sizeof(std::uint64_t); ++i) words[i] = random();
    for (const std::size_t start : {std::size_t{0}, kLayerBytes}) {
      const TileShape shape({}, 128, 128);  // not looked at
      ExpertMatrices layer;
      layer.experts = 1;
      layer.tiled = ExpertMatrices::Tiled{.base = memory_.data() + start,
                                          .expert_bytes = kLayerBytes,
                                          .w13 = shape,
                                          .w2 = shape,
                                          .w13_tiles = 0,
                                          .w13_scales = 0,
                                          .w2_tiles = 0,
                                          .w2_scales = 0};
      layers_.push_back(layer);
    }
  }
  std::span<const ExpertMatrices> layers() const { return layers_; }
  std::byte* data() const { return memory_.data(); }

 private:
  HostBuffer memory_;
  std::vector<ExpertMatrices> layers_;
};

// Work of many milliseconds, so that copies queued behind it wait.
void keep_busy(const cuda::Stream& stream, const cuda::DeviceBuffer& memory) {
  constexpr int kTimes = 400;
  const std::size_t half = memory.bytes() / 2;
  for (int i = 0; i < kTimes; ++i) {
    cuda::check(cudaMemcpyAsync(memory.data(), memory.data() + half, half, cudaMemcpyDeviceToDevice,
                                stream.get()),
                "keeping a stream busy");
  }
}

// Pieces of all sizes arrive as they are, over each other, also where the device is behind.
void expect_right_copies(ExpertCopies& copies, const Experts2& experts) {
  const cuda::DeviceBuffer device(kLayerBytes);
  std::vector<std::byte> expected(kLayerBytes), found(kLayerBytes);
  cuda::check(cudaMemset(device.data(), 0, kLayerBytes), "clearing");
  std::size_t to = 0;
  const auto copy = [&](std::size_t from, std::size_t bytes) {
    copies.copy(device.data() + to, experts.data() + from, bytes);
    std::memcpy(expected.data() + to, experts.data() + from, bytes);
  };
  const cuda::DeviceBuffer others(2 * kLayerBytes);
  keep_busy(copies.stream(), others);
  copy(kLayerBytes, kLayerBytes);  // all of it is overwritten
  copy(0, kLayerBytes - 77);
  for (const std::size_t bytes : {1U, 3U, 4096U, 1000001U, (32U << 20) + 5, 32U << 20, 90000001U}) {
    copy(kLayerBytes + bytes, bytes);
    to += bytes;
  }
  copies.stream().synchronize();
  cuda::check(cudaMemcpy(found.data(), device.data(), kLayerBytes, cudaMemcpyDeviceToHost),
              "reading back");
  EXPECT_EQ(std::memcmp(found.data(), expected.data(), kLayerBytes), 0);
}

TEST(ExpertCopies, OfPinnedMemoryArrive) {
  test::device_ops();
  const Experts2 experts;
  for (int i = 0; i < 2; ++i) {  // the first has let go of the memory
    ExpertCopies copies(experts.layers(), ExpertCopies::Pinning::Allowed);
    EXPECT_EQ(copies.problem(), "");
    expect_right_copies(copies, experts);
  }
}

TEST(ExpertCopies, OfMemoryThatIsNotPinnedArrive) {
  test::device_ops();
  const Experts2 experts;
  ExpertCopies copies(experts.layers(), ExpertCopies::Pinning::Refused);
  EXPECT_NE(copies.problem(), "");
  EXPECT_FALSE(copies.readable_in_place());
  expect_right_copies(copies, experts);
}

TEST(ExpertCopies, AreStagedWhereTheSystemRefusesAPartOfTheMemory) {
  test::device_ops();
  const Experts2 experts;
  // Pinned by somebody else, so that it cannot be pinned again.
  cuda::check(cudaHostRegister(experts.data() + kLayerBytes, 1 << 20, cudaHostRegisterDefault),
              "pinning");
  {
    ExpertCopies copies(experts.layers(), ExpertCopies::Pinning::Allowed);
    EXPECT_NE(copies.problem(), "");
    expect_right_copies(copies, experts);
  }
  cuda::check(cudaHostUnregister(experts.data() + kLayerBytes), "letting go");
  const ExpertCopies again(experts.layers(), ExpertCopies::Pinning::Allowed);
  EXPECT_EQ(again.problem(), "");
}

TEST(ExpertCopies, LeavePinnedMemoryReadableInPlace) {
  Ops& ops = test::device_ops();
  const Experts2 experts;
  const ExpertCopies copies(experts.layers(), ExpertCopies::Pinning::Allowed);
  ASSERT_EQ(copies.problem(), "");
  if (!copies.readable_in_place()) GTEST_SKIP() << "this device cannot";
  constexpr std::int64_t kNumbers = 1000;
  const Buffer out = ops.memory().allocate(kNumbers * sizeof(float));
  auto* numbers = reinterpret_cast<float*>(experts.data());
  for (std::int64_t i = 0; i < kNumbers; ++i) numbers[i] = static_cast<float>(i);
  ops.copy({.x = Rows(numbers, 1, kNumbers), .out = MutableRows(out.as<float>(), 1, kNumbers)});
  std::vector<float> found(kNumbers);
  ops.memory().download(found.data(), out.data(), out.bytes());
  EXPECT_EQ(std::memcmp(found.data(), numbers, out.bytes()), 0);
}

}  // namespace
}  // namespace krasis
