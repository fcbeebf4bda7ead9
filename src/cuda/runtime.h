// Owners of the CUDA runtime's handles, and the one way its errors become ours.
#pragma once

#include <cstddef>
#include <cuda_runtime_api.h>

#include "cuda/launch.h"

namespace krasis::cuda {

// Throws unless `result` is success: Error(OutOfMemory) if memory ran out, Error(Device) otherwise,
// "cuda: DOING: what the runtime says".
void check(cudaError_t result, const char* doing);

// After a kernel launch: throws Error(Device) naming the kernel if it could not be started.
void check_launch(const char* kernel);

// A queue of work of its own; does not wait for the default stream.
class Stream {
 public:
  Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream();

  cudaStream_t get() const { return stream_; }
  void synchronize() const;  // throws what work queued before has failed with

 private:
  cudaStream_t stream_ = nullptr;
};

class Event {
 public:
  enum class Timing : bool { No, Yes };
  explicit Event(Timing timing = Timing::No);
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  ~Event();

  void record(const Stream& stream) const;
  void wait_on(const Stream& stream) const;  // the stream waits, not the caller
  void synchronize() const;
  bool is_over() const;  // true if what was recorded is done; throws what it has failed with
  double ms_since(const Event& earlier) const;  // both with timing and over

 private:
  cudaEvent_t event_ = nullptr;
};

// Memory of the current device, aligned to 256 bytes, not cleared.
class DeviceBuffer {
 public:
  explicit DeviceBuffer(std::size_t bytes);
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;
  ~DeviceBuffer();

  std::byte* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }
  std::byte* release() noexcept;  // the caller frees it

 private:
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
};

// Host memory that the device copies from and to without a detour; zeroed.
class PinnedBuffer {
 public:
  PinnedBuffer() = default;
  explicit PinnedBuffer(std::size_t bytes);
  PinnedBuffer(PinnedBuffer&& other) noexcept;
  PinnedBuffer& operator=(PinnedBuffer&& other) noexcept;
  ~PinnedBuffer();

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

}  // namespace krasis::cuda
