// Copies of experts from the program's memory to the device's, on a stream of their own beside the
// ops. The program's memory is pinned for that; where the system refuses, copies go by way of
// pinned staging memory, which threads of their own fill.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "cuda/runtime.h"
#include "ops/matrix.h"

namespace krasis::cuda {

class ExpertStaging;

class ExpertCopies {
 public:
  enum class Pinning : bool { Refused, Allowed };  // Refused: as if the system had

  // layers: tiled; their memory outlives this. Throws Error(OutOfMemory) where there is not even
  // memory for staging.
  ExpertCopies(std::span<const ExpertMatrices> layers, Pinning pinning);
  ExpertCopies(const ExpertCopies&) = delete;
  ExpertCopies& operator=(const ExpertCopies&) = delete;
  ~ExpertCopies();

  // That copies are queued on; who reuses what they read or write orders himself with its events.
  const Stream& stream() const { return stream_; }

  // Queues a copy of [from, from + bytes), which lies in one layer. Large pieces are faster.
  void copy(std::byte* to, const std::byte* from, std::size_t bytes);

  // True if the device can read the experts where they lie, at the program's own addresses.
  bool readable_in_place() const { return readable_in_place_; }

  // Why the memory is not pinned; empty if it is.
  const std::string& problem() const { return problem_; }

 private:
  class Pinned;

  // Why not, or nothing.
  std::string pin(std::span<const ExpertMatrices> layers, int device);

  std::vector<Pinned> pinned_;
  std::string problem_;
  bool readable_in_place_ = false;
  Stream stream_;
  std::unique_ptr<ExpertStaging> staging_;  // nullptr: pinned
};

}  // namespace krasis::cuda
