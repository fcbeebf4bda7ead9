#include "ops/memory.h"

#include <cstring>
#include <utility>

namespace krasis {
namespace {

class HostMemory final : public Memory {
 public:
  bool is_host() const override { return true; }
  std::size_t free_bytes() const override { return 0; }
  void upload(std::byte* to, const void* from, std::size_t bytes) override {
    if (bytes > 0) std::memcpy(to, from, bytes);
  }
  void download(void* to, const std::byte* from, std::size_t bytes) override {
    if (bytes > 0) std::memcpy(to, from, bytes);
  }

 private:
  std::byte* do_allocate(std::size_t bytes) override { return HostBuffer(bytes).release(); }
  void do_release(std::byte* data, std::size_t bytes) noexcept override {
    const HostBuffer owner = HostBuffer::adopt(data, bytes);
  }
};

}  // namespace

Buffer Memory::allocate(std::size_t bytes) {
  return bytes == 0 ? Buffer() : Buffer(*this, do_allocate(bytes), bytes);
}

Buffer Memory::hold(HostBuffer contents) {
  const std::size_t bytes = contents.bytes();
  if (is_host()) return {*this, contents.release(), bytes};
  Buffer copy = allocate(bytes);
  upload(copy.data(), contents.data(), bytes);
  return copy;
}

Buffer::Buffer(Buffer&& other) noexcept
    : memory_(std::exchange(other.memory_, nullptr)),
      data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(memory_, other.memory_);
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

Buffer::~Buffer() {
  if (data_ != nullptr) memory_->do_release(data_, bytes_);
}

Memory& host_memory() {
  static HostMemory memory;
  return memory;
}

}  // namespace krasis
