// The way of copies from memory that is not pinned: through pinned pieces that a team of threads
// fills in turn, while earlier ones are on their way to the device.
#pragma once

#include <array>
#include <cstddef>
#include <deque>
#include <mutex>

#include "base/thread_pool.h"
#include "cuda/runtime.h"

namespace krasis::cuda {

class ExpertStaging {
 public:
  // Throws Error(OutOfMemory).
  ExpertStaging();

  // Queues a copy of [from, from + bytes) on the stream, always the same one.
  void copy(std::byte* to, const std::byte* from, std::size_t bytes, const Stream& stream);

 private:
  struct Piece {
    PinnedBuffer memory;
    Event filled, copied;
  };
  struct Fill {
    std::byte* to;
    const std::byte* from;
    std::size_t bytes;
  };
  void queue(const Fill& fill);
  static void fill_next(void* staging);

  std::array<Piece, 4> pieces_;
  std::size_t next_ = 0;
  std::mutex fills_mutex_;
  std::deque<Fill> fills_;  // queued on fill_stream_, in order; guarded by fills_mutex_
  ThreadPool threads_;
  Stream fill_stream_;  // the first to go: waits for the functions queued on it
};

}  // namespace krasis::cuda
