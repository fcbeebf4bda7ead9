#include "cuda/device_memory.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "base/error.h"

namespace krasis::cuda {
namespace {

// Below this the driver's own staging is as fast.
constexpr std::size_t kSmallBytes = std::size_t{1} << 16;

}  // namespace

DeviceMemory::DeviceMemory(int device, const Stream& stream, const DeviceOptions& options)
    : device_(device),
      stream_(stream),
      limit_bytes_(options.vram_limit_bytes),
      failing_allocation_(options.failing_allocation),
      staging_{PinnedBuffer(kStagingBytes), PinnedBuffer(kStagingBytes)} {}

std::size_t DeviceMemory::free_bytes() const {
  check(cudaSetDevice(device_), "choosing the device");
  std::size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "reading how much memory is free");
  return limit_bytes_ == 0 ? free : std::min(free, limit_bytes_ - used_bytes_);
}

std::byte* DeviceMemory::do_allocate(std::size_t bytes) {
  if (++allocations_ == failing_allocation_) {
    throw Error(ErrorCode::OutOfMemory,
                "cuda: " + std::to_string(bytes) + " bytes: this allocation was made to fail");
  }
  if (limit_bytes_ > 0 && bytes > limit_bytes_ - used_bytes_) {
    throw Error(ErrorCode::OutOfMemory,
                "cuda: " + std::to_string(bytes) + " bytes more than the " +
                    std::to_string(used_bytes_) + " in use exceed the limit of " +
                    std::to_string(limit_bytes_) + "; raise --vram-limit or use a smaller context");
  }
  check(cudaSetDevice(device_), "choosing the device");
  DeviceBuffer buffer(bytes);
  check(cudaMemsetAsync(buffer.data(), 0, bytes, stream_.get()), "clearing device memory");
  used_bytes_ += bytes;
  return buffer.release();
}

void DeviceMemory::do_release(std::byte* data, std::size_t bytes) noexcept {
  used_bytes_ -= bytes;
  static_cast<void>(cudaFree(data));
}

void DeviceMemory::upload(std::byte* to, const void* from, std::size_t bytes) {
  if (bytes == 0) return;
  check(cudaSetDevice(device_), "choosing the device");
  if (bytes <= kSmallBytes) {
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_.get()),
          "copying to the device");
    return;
  }
  const auto* source = static_cast<const std::byte*>(from);
  for (std::size_t done = 0, half = 0; done < bytes; half ^= 1U) {
    const std::size_t piece = std::min(bytes - done, kStagingBytes);
    copied_[half].synchronize();
    std::memcpy(staging_[half].data(), source + done, piece);
    check(cudaMemcpyAsync(to + done, staging_[half].data(), piece, cudaMemcpyHostToDevice,
                          stream_.get()),
          "copying to the device");
    copied_[half].record(stream_);
    done += piece;
  }
}

void DeviceMemory::download(void* to, const std::byte* from, std::size_t bytes) {
  if (bytes == 0) return;
  auto* target = static_cast<std::byte*>(to);
  for (std::size_t done = 0; done < bytes;) {
    const std::size_t piece = std::min(bytes - done, kStagingBytes);
    copied_[0].synchronize();
    check(cudaMemcpyAsync(staging_[0].data(), from + done, piece, cudaMemcpyDeviceToHost,
                          stream_.get()),
          "copying from the device");
    stream_.synchronize();
    std::memcpy(target + done, staging_[0].data(), piece);
    done += piece;
  }
}

}  // namespace krasis::cuda
