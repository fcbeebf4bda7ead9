// The memory that a backend's operations read and write: the program's own, or a device's. Who
// keeps something for ops (weights, state, intermediate results) asks Ops::memory() for it, and
// moves numbers in and out through it where they are not the program's own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "tensor/host_buffer.h"

namespace krasis {

class Buffer;

// Used by one thread at a time, the one that calls the ops.
class Memory {
 public:
  Memory() = default;
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  virtual ~Memory() = default;

  // True if the program can read and write it through pointers.
  virtual bool is_host() const = 0;
  // Bytes that can still be allocated; 0 if unknown.
  virtual std::size_t free_bytes() const = 0;
  // Bytes that are allocated; 0 if unknown.
  virtual std::size_t used_bytes() const { return 0; }

  // Zeroed, aligned to 256 bytes. Throws Error(OutOfMemory) with the sizes.
  Buffer allocate(std::size_t bytes);
  // The same contents in this memory; no copy where that is the program's own.
  Buffer hold(HostBuffer contents);

  // In order with the ops queued before and after. `from` can be changed on return.
  virtual void upload(std::byte* to, const void* from, std::size_t bytes) = 0;
  // What the ops queued so far have left at `from`; it is there on return.
  virtual void download(void* to, const std::byte* from, std::size_t bytes) = 0;

 private:
  friend class Buffer;
  virtual std::byte* do_allocate(std::size_t bytes) = 0;
  virtual void do_release(std::byte* data, std::size_t bytes) noexcept = 0;
};

// Owns a piece of a memory, which outlives it. Move-only.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;
  ~Buffer();

  std::byte* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }

 private:
  friend class Memory;
  Buffer(Memory& memory, std::byte* data, std::size_t bytes)
      : memory_(&memory), data_(data), bytes_(bytes) {}

  Memory* memory_ = nullptr;
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
};

// The program's own: page-aligned, in huge pages where the system gives them. Any thread may use
// it.
Memory& host_memory();

}  // namespace krasis
