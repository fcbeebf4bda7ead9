#include "tensor/host_buffer.h"

#include <string>
#include <sys/mman.h>
#include <utility>

#include "base/error.h"

namespace krasis {
namespace {

constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;

}  // namespace

HostBuffer::HostBuffer(std::size_t bytes) : bytes_(bytes) {
  if (bytes == 0) return;
  void* address =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (address == MAP_FAILED) {
    throw Error(ErrorCode::OutOfMemory, "memory: the system has no " + std::to_string(bytes) +
                                            " bytes left; close other programs or use a smaller "
                                            "model or context length");
  }
  data_ = static_cast<std::byte*>(address);
  if (bytes >= kHugePageBytes) ::madvise(address, bytes, MADV_HUGEPAGE);  // a wish, not a need
}

HostBuffer::HostBuffer(HostBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

HostBuffer& HostBuffer::operator=(HostBuffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

std::byte* HostBuffer::release() noexcept {
  bytes_ = 0;
  return std::exchange(data_, nullptr);
}

HostBuffer HostBuffer::adopt(std::byte* data, std::size_t bytes) noexcept {
  HostBuffer buffer;
  buffer.data_ = data;
  buffer.bytes_ = bytes;
  return buffer;
}

HostBuffer::~HostBuffer() {
  if (data_ != nullptr) ::munmap(data_, bytes_);
}

}  // namespace krasis
