// How the tile product's operands come to shared memory: a ring of stages of 64 columns, filled by
// cp.async ahead of the sums and across the borders of output tiles, so that a block's first
// columns are on their way while the last tile is being written.
#pragma once

#include "cuda/tile_stages.cuh"

namespace krasis::cuda {

constexpr int kGemmThreads = 256;

template <int Bits>
class Pipeline {
 public:
  using Layout = Stage<Bits, kLeastBlockTokens>;

  __device__ Pipeline(const TileProduct& product, unsigned shared, int stages)
      : grid_(product),
        source_(product),
        shared_(shared),
        stages_(stages),
        tile_(static_cast<int>(blockIdx.x)) {
    next_block_ = grid_.block_of(tile_);
    if (tile_ < grid_.tiles()) enter_tile();
    for (int i = 0; i < stages_ - 1; ++i) fill();
  }

  __device__ const TileGrid& grid() const { return grid_; }

  // Waits for the next stage and returns its address. All threads together.
  __device__ unsigned next() {
    wait();
    __syncthreads();
    const unsigned stage = shared_ + read_ * Layout::kBytes;
    read_ = read_ + 1 == stages_ ? 0 : read_ + 1;
    return stage;
  }

  // Starts filling the oldest of the stages that were read. Once after each next(), best when there
  // is work under way already.
  __device__ void fill() {
    if (tile_ < grid_.tiles()) {
      source_.copy(shared_ + write_ * Layout::kBytes, column_stage_);
      if (++column_stage_ == grid_.stages_of_tile()) {
        column_stage_ = 0;
        tile_ += static_cast<int>(gridDim.x);
        if (tile_ < grid_.tiles()) enter_tile();
      }
    }
    copy_async_commit();
    write_ = write_ + 1 == stages_ ? 0 : write_ + 1;
  }

 private:
  // wait_group takes a constant.
  __device__ void wait() const {
    switch (stages_) {
      case 2:
        return copy_async_wait<0>();
      case 3:
        return copy_async_wait<1>();
      case 4:
        return copy_async_wait<2>();
      case 5:
        return copy_async_wait<3>();
      case 6:
        return copy_async_wait<4>();
      case 7:
        return copy_async_wait<5>();
      default:
        return copy_async_wait<6>();
    }
  }

  __device__ void enter_tile() {
    source_.enter(next_block_, grid_.first_strip(tile_));
    next_block_ = grid_.block_of(tile_ + static_cast<int>(gridDim.x));
  }

  TileGrid grid_;
  StageSource<Bits, kLeastBlockTokens, kGemmThreads> source_;
  unsigned shared_;
  int stages_;
  int read_ = 0, write_ = 0;

  // What the next stage is filled with.
  int tile_;
  TokenBlock next_block_;
  int column_stage_ = 0;
};

}  // namespace krasis::cuda
