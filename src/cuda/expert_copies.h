// Copies of experts from the program's memory to the device's, on a stream of their own beside the
// ops. The program's memory is pinned for that.
#pragma once

#include <cstddef>
#include <span>

#include "cuda/runtime.h"
#include "ops/matrix.h"

namespace krasis::cuda {

class ExpertCopies {
 public:
  // layers: tiled; their memory outlives this.
  explicit ExpertCopies(std::span<const ExpertMatrices> layers);
  ExpertCopies(const ExpertCopies&) = delete;
  ExpertCopies& operator=(const ExpertCopies&) = delete;
  ~ExpertCopies();

  // That copies are queued on; who reuses what they read or write orders himself with its events.
  const Stream& stream() const { return stream_; }

  // Queues a copy of [from, from + bytes), which lies in one layer. Large pieces are faster.
  void copy(std::byte* to, const std::byte* from, std::size_t bytes);

  // True if the device can read the experts where they lie, at the program's own addresses.
  bool readable_in_place() const { return false; }

 private:
  Stream stream_;
};

}  // namespace krasis::cuda
