// A ring of stages between the threads that copy and those that compute, on Hopper: each stage has
// a barrier that ends a turn when it was filled and one that does when it may be filled again, so
// that nobody waits for more than that.
#pragma once

#include "cuda/shared_barrier.cuh"
#include "cuda/tile_stages.cuh"

namespace krasis::cuda {

constexpr int kCopyThreads = 128;
constexpr int kComputeThreads = 256;
// A multiprocessor's 64 Ki registers, in eights.
constexpr int kCopyRegisters = 40;
constexpr int kComputeRegisters = 232;

template <int Bits>
struct Ring {
  using Layout = Stage<Bits, kMostBlockTokens>;
  static constexpr int kBarrierBytes = 16;

  unsigned shared;
  int stages;

  __device__ unsigned stage(int index) const { return shared + index * Layout::kBytes; }
  __device__ unsigned filled(int index) const { return stage(stages) + index * kBarrierBytes; }
  __device__ unsigned empty(int index) const { return filled(index) + kBarrierBytes / 2; }

  // By all threads; then they know.
  __device__ void prepare() const {
    if (threadIdx.x == 0) {
      for (int i = 0; i < stages; ++i) {
        init_barrier(filled(i), kCopyThreads / kWarp);
        init_barrier(empty(i), kComputeThreads / kWarp);
      }
    }
    __syncthreads();
  }
};

struct RingPlace {
  int index = 0;
  unsigned turn = 0;  // its parity

  __device__ void advance(int stages) {
    if (++index < stages) return;
    index = 0;
    turn ^= 1;
  }
};

// One arrival a warp, for what all of its lanes did.
__device__ inline void warp_arrives(unsigned barrier) {
  __syncwarp();
  if (threadIdx.x % kWarp == 0) arrive_at(barrier);
}

// Copies the stages of all of this block's output tiles.
template <int Bits>
class RingWriter {
 public:
  __device__ RingWriter(const TileProduct& product, const Ring<Bits>& ring)
      : grid_(product), source_(product), ring_(ring) {}

  __device__ void run() {
    const int step = static_cast<int>(gridDim.x);
    TokenBlock next = grid_.block_of(static_cast<int>(blockIdx.x));
    for (int tile = static_cast<int>(blockIdx.x); tile < grid_.tiles(); tile += step) {
      source_.enter(next, grid_.first_strip(tile));
      next = grid_.block_of(tile + step);
      for (int s = 0; s < grid_.stages_of_tile(); ++s) fill(s);
    }
    copy_async_wait<0>();
    for (; under_way_ > 0; --under_way_) publish();
  }

 private:
  // A stage is published so many later, when its copies have surely arrived.
  static constexpr int kUnderWay = 2;

  __device__ void fill(int column_stage) {
    wait_at(ring_.empty(next_.index), next_.turn ^ 1);
    source_.copy(ring_.stage(next_.index), column_stage);
    copy_async_commit();
    next_.advance(ring_.stages);
    if (under_way_ < kUnderWay) {
      ++under_way_;
      return;
    }
    copy_async_wait<kUnderWay>();
    publish();
  }
  __device__ void publish() {
    fence_async_proxy();
    warp_arrives(ring_.filled(oldest_));
    oldest_ = oldest_ + 1 == ring_.stages ? 0 : oldest_ + 1;
  }

  TileGrid grid_;
  StageSource<Bits, kMostBlockTokens, kCopyThreads> source_;
  const Ring<Bits>& ring_;
  RingPlace next_;
  int oldest_ = 0, under_way_ = 0;
};

template <int Bits>
class RingReader {
 public:
  using Layout = typename Ring<Bits>::Layout;

  __device__ explicit RingReader(const Ring<Bits>& ring) : ring_(ring) {}

  // Waits for the next stage and returns its address.
  __device__ unsigned next() {
    wait_at(ring_.filled(place_.index), place_.turn);
    const unsigned stage = ring_.stage(place_.index);
    place_.advance(ring_.stages);
    return stage;
  }
  // The stage that next() returned has been read, or the one so many before it. Each in its turn.
  __device__ void give_back(int before = 0) {
    const int index = place_.index - 1 - before;
    warp_arrives(ring_.empty(index < 0 ? index + ring_.stages : index));
  }

 private:
  const Ring<Bits>& ring_;
  RingPlace place_;
};

}  // namespace krasis::cuda
