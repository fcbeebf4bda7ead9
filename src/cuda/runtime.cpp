#include "cuda/runtime.h"

#include <cstring>
#include <string>
#include <utility>

#include "base/error.h"

namespace krasis::cuda {
namespace {

constexpr std::size_t kAlignment = 256;

}  // namespace

void check(cudaError_t result, const char* doing) {
  if (result == cudaSuccess) return;
  // An error of one call must not be reported by the next one too.
  static_cast<void>(cudaGetLastError());
  const ErrorCode code =
      result == cudaErrorMemoryAllocation ? ErrorCode::OutOfMemory : ErrorCode::Device;
  throw Error(code, "cuda: " + std::string(doing) + ": " + cudaGetErrorString(result));
}

void check_launch(const char* kernel) {
  check(cudaGetLastError(), kernel);
}

void* Scratch::take(std::size_t bytes) {
  const std::size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  if (rounded < bytes || rounded > bytes_ - used_bytes_) {
    throw Error(ErrorCode::OutOfMemory,
                "cuda: an operation needs " + std::to_string(bytes) + " bytes beside " +
                    std::to_string(used_bytes_) + " of " + std::to_string(bytes_) +
                    " bytes of scratch memory; use a smaller --prompt-chunk");
  }
  void* const start = data_ + used_bytes_;
  used_bytes_ += rounded;
  return start;
}

Stream::Stream() {
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "creating a stream");
}

Stream::~Stream() {
  static_cast<void>(cudaStreamSynchronize(stream_));
  static_cast<void>(cudaStreamDestroy(stream_));
}

void Stream::synchronize() const {
  check(cudaStreamSynchronize(stream_), "running the queued work");
}

Event::Event(Timing timing) {
  check(cudaEventCreateWithFlags(&event_,
                                 timing == Timing::Yes ? cudaEventDefault : cudaEventDisableTiming),
        "creating an event");
}

Event::~Event() {
  static_cast<void>(cudaEventDestroy(event_));
}

void Event::record(const Stream& stream) const {
  check(cudaEventRecord(event_, stream.get()), "recording an event");
}

void Event::wait_on(const Stream& stream) const {
  check(cudaStreamWaitEvent(stream.get(), event_, 0), "waiting for an event");
}

void Event::synchronize() const {
  check(cudaEventSynchronize(event_), "waiting for an event");
}

bool Event::is_over() const {
  const cudaError_t state = cudaEventQuery(event_);
  if (state == cudaErrorNotReady) {
    static_cast<void>(cudaGetLastError());
    return false;
  }
  check(state, "asking for an event");
  return true;
}

double Event::ms_since(const Event& earlier) const {
  float ms = 0;
  check(cudaEventElapsedTime(&ms, earlier.event_, event_), "reading the time between two events");
  return double{ms};
}

DeviceBuffer::DeviceBuffer(std::size_t bytes) : bytes_(bytes) {
  if (bytes == 0) return;
  void* data = nullptr;
  const std::string doing = "allocating " + std::to_string(bytes) + " bytes of device memory";
  check(cudaMalloc(&data, bytes), doing.c_str());
  data_ = static_cast<std::byte*>(data);
}

DeviceBuffer::~DeviceBuffer() {
  if (data_ != nullptr) static_cast<void>(cudaFree(data_));
}

std::byte* DeviceBuffer::release() noexcept {
  bytes_ = 0;
  return std::exchange(data_, nullptr);
}

PinnedBuffer::PinnedBuffer(std::size_t bytes) : bytes_(bytes) {
  if (bytes == 0) return;
  void* data = nullptr;
  const std::string doing = "allocating " + std::to_string(bytes) + " bytes of pinned memory";
  check(cudaHostAlloc(&data, bytes, cudaHostAllocDefault), doing.c_str());
  data_ = static_cast<std::byte*>(data);
  std::memset(data_, 0, bytes);
}

PinnedBuffer::PinnedBuffer(PinnedBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

PinnedBuffer& PinnedBuffer::operator=(PinnedBuffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

PinnedBuffer::~PinnedBuffer() {
  if (data_ != nullptr) static_cast<void>(cudaFreeHost(data_));
}

}  // namespace krasis::cuda
