// Memory for tensors on the host: page-aligned, zeroed, in huge pages where the system gives them.
// Move-only. Throws Error(OutOfMemory) with the size asked for.
#pragma once

#include <cstddef>

namespace krasis {

class HostBuffer {
 public:
  HostBuffer() = default;
  explicit HostBuffer(std::size_t bytes);
  HostBuffer(HostBuffer&& other) noexcept;
  HostBuffer& operator=(HostBuffer&& other) noexcept;
  ~HostBuffer();

  // The caller owns the memory afterwards; adopt() takes it back.
  std::byte* release() noexcept;
  static HostBuffer adopt(std::byte* data, std::size_t bytes) noexcept;

  std::byte* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }

  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }

 private:
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace krasis
