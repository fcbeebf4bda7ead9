#include "cuda/expert_staging.h"

#include <algorithm>
#include <cstring>

#include "base/parallel.h"

namespace krasis::cuda {
namespace {

// Long against the start of a copy and of the threads that fill it, a small part of a layer.
constexpr std::size_t kPieceBytes = std::size_t{32} << 20;
constexpr std::int64_t kGrainBytes = 1 << 20;
// One thread reads memory at a quarter of what a link of 16 lanes takes, or less.
constexpr int kMostThreads = 6;

}  // namespace

ExpertStaging::ExpertStaging()
    : threads_({.threads = std::min(kMostThreads, usable_processors()), .pin = false}) {
  for (Piece& piece : pieces_) piece.memory = PinnedBuffer(kPieceBytes);
}

// The driver calls it, one call at a time. No CUDA calls are allowed here.
void ExpertStaging::fill_next(void* staging) {
  auto& self = *static_cast<ExpertStaging*>(staging);
  Fill fill{};
  {
    const std::lock_guard lock(self.fills_mutex_);
    fill = self.fills_.front();
    self.fills_.pop_front();
  }
  self.threads_.parallel_for(static_cast<std::int64_t>(fill.bytes), kGrainBytes,
                             [&](std::int64_t first, std::int64_t last) {
                               std::memcpy(fill.to + first, fill.from + first,
                                           static_cast<std::size_t>(last - first));
                             });
}

void ExpertStaging::queue(const Fill& fill) {
  {
    const std::lock_guard lock(fills_mutex_);
    fills_.push_back(fill);
  }
  const cudaError_t queued = cudaLaunchHostFunc(fill_stream_.get(), fill_next, this);
  if (queued == cudaSuccess) return;
  const std::lock_guard lock(fills_mutex_);
  fills_.pop_back();
  check(queued, "queueing the copy of experts");
}

void ExpertStaging::copy(std::byte* to, const std::byte* from, std::size_t bytes,
                         const Stream& stream) {
  for (std::size_t done = 0; done < bytes;) {
    const std::size_t some = std::min(bytes - done, kPieceBytes);
    Piece& piece = pieces_[next_];
    piece.copied.wait_on(fill_stream_);
    queue({piece.memory.data(), from + done, some});
    piece.filled.record(fill_stream_);
    piece.filled.wait_on(stream);
    check(
        cudaMemcpyAsync(to + done, piece.memory.data(), some, cudaMemcpyHostToDevice, stream.get()),
        "copying experts to the device");
    piece.copied.record(stream);
    next_ = (next_ + 1) % pieces_.size();
    done += some;
  }
}

}  // namespace krasis::cuda
