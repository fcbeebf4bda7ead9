// A device's memory as the seam of ops sees it, with a limit of our own below the device's.
#pragma once

#include "cuda/devices.h"
#include "cuda/runtime.h"
#include "ops/memory.h"

namespace krasis::cuda {

class DeviceMemory final : public Memory {
 public:
  // Copies in order with `stream`, which outlives the memory. Of the options, the limit and the
  // allocation that fails.
  DeviceMemory(int device, const Stream& stream, const DeviceOptions& options);

  bool is_host() const override { return false; }
  std::size_t free_bytes() const override;
  std::size_t used_bytes() const override { return used_bytes_; }
  std::int64_t allocations() const { return allocations_; }  // that were asked for, ever

  void upload(std::byte* to, const void* from, std::size_t bytes) override;
  void download(void* to, const std::byte* from, std::size_t bytes) override;

 private:
  std::byte* do_allocate(std::size_t bytes) override;
  void do_release(std::byte* data, std::size_t bytes) noexcept override;

  // Two halves, one filled while the other is copied.
  static constexpr std::size_t kStagingBytes = std::size_t{16} << 20;

  int device_;
  const Stream& stream_;
  std::size_t limit_bytes_;
  std::int64_t failing_allocation_;  // 0: none
  std::int64_t allocations_ = 0;
  std::size_t used_bytes_ = 0;
  PinnedBuffer staging_[2];
  Event copied_[2];
};

}  // namespace krasis::cuda
