// How the tile product's operands come to shared memory: a ring of stages of 64 columns, filled by
// cp.async ahead of the sums and across the borders of output tiles, so that a block's first
// columns are on their way while the last tile is being written.
#pragma once

#include "cuda/tensor_core.cuh"
#include "cuda/tile_gemm.h"

namespace krasis::cuda {

constexpr int kGemmThreads = 256;
constexpr int kStageColumns = 64;
constexpr int kStageTiles = kStageColumns / kTileColumns;
constexpr int kBlockStrips = 4;
constexpr int kRowBytes = kStageColumns * 2;  // of x in a stage: 8 pieces of 16 bytes, swizzled

// A stage: [128 rows of x][4 strips' tiles][4 strips][2 groups][64 scales].
template <int Bits>
struct Stage {
  static constexpr int kTokenBytes = kBlockTokens * kRowBytes;
  static constexpr int kStripBytes = kStripRows * kStageColumns * Bits / 8;
  static constexpr int kTiles = kTokenBytes;
  static constexpr int kScales = kTiles + kBlockStrips * kStripBytes;
  static constexpr int kGroupBytes = kStripRows * 2;
  static constexpr int kBytes = kScales + kBlockStrips * 2 * kGroupBytes;
};

// The size that a block of tokens is computed with.
__device__ inline int width_of(int count) {
  return count > 64 ? 128 : count > 32 ? 64 : count > 16 ? 32 : 16;
}

__device__ inline int block_count(const TileProduct& p) {
  return p.blocks != nullptr ? *p.block_count : (p.positions + kBlockTokens - 1) / kBlockTokens;
}

__device__ inline TokenBlock block_at(const TileProduct& p, int index) {
  if (p.blocks != nullptr) {
    const int4 v = __ldg(reinterpret_cast<const int4*>(p.blocks) + index);
    return {v.x, v.y, v.z, v.w};
  }
  const int first = index * kBlockTokens;
  return {0, first, min(kBlockTokens, p.positions - first), 0};
}

__device__ inline const std::byte* expert_at(const TileSource& source, int expert) {
  return source.table != nullptr ? source.table[expert]
                                 : source.base + expert * source.expert_bytes;
}

// `Held` stages are not overwritten after next() has given them out, the newest included: 1 for
// instructions that have read their operands when they are over, 2 for those of a warp group, which
// go on while the next stage is being prepared.
template <int Bits, int Held>
class Pipeline {
 public:
  __device__ Pipeline(const TileProduct& product, unsigned shared, int stages)
      : product_(product),
        shared_(shared),
        stages_(stages),
        group_shift_(product.weight.group == 32   ? 5
                     : product.weight.group == 64 ? 6
                                                  : 7),
        row_blocks_((product.weight.strips + kBlockStrips - 1) / kBlockStrips),
        tiles_(block_count(product) * row_blocks_),
        stages_of_tile_(product.weight.k_tiles / kStageTiles),
        tile_(static_cast<int>(blockIdx.x)) {
    next_block_ = block_of(tile_);
    if (tile_ < tiles_) enter_tile();
    for (int i = 0; i < stages_ - Held; ++i) fill();
  }

  __device__ int tiles() const { return tiles_; }
  __device__ int row_blocks() const { return row_blocks_; }
  __device__ int stages_of_tile() const { return stages_of_tile_; }

  // Of an output tile; nothing past the last.
  __device__ TokenBlock block_of(int tile) const {
    return tile < tiles_ ? block_at(product_, tile / row_blocks_) : TokenBlock{};
  }

  // Waits for the next stage and returns its address. All threads together.
  __device__ unsigned next() {
    wait();
    if constexpr (Held > 1) fence_async_proxy();
    __syncthreads();
    const unsigned stage = shared_ + read_ * Stage<Bits>::kBytes;
    read_ = read_ + 1 == stages_ ? 0 : read_ + 1;
    return stage;
  }

  // Starts filling the oldest of the stages that were read. Once after each next(), best when there
  // is work under way already.
  __device__ void fill() {
    if (tile_ < tiles_) {
      copy_stage();
      if (++column_stage_ == stages_of_tile_) {
        column_stage_ = 0;
        tile_ += static_cast<int>(gridDim.x);
        if (tile_ < tiles_) enter_tile();
      }
    }
    copy_async_commit();
    write_ = write_ + 1 == stages_ ? 0 : write_ + 1;
  }

 private:
  static constexpr int kTilePieces = kBlockStrips * Stage<Bits>::kStripBytes / 16 / kGemmThreads;
  static constexpr int kStripPieces = Stage<Bits>::kStripBytes / 16;
  static constexpr int kRowPieces = kRowBytes / 16;
  static constexpr int kRowStep = kGemmThreads / kRowPieces;
  static constexpr int kRowsAThread = kBlockTokens / kRowStep;

  // wait_group takes a constant.
  __device__ void wait() const {
    switch (stages_ - Held) {
      case 1:
        return copy_async_wait<0>();
      case 2:
        return copy_async_wait<1>();
      case 3:
        return copy_async_wait<2>();
      case 4:
        return copy_async_wait<3>();
      case 5:
        return copy_async_wait<4>();
      case 6:
        return copy_async_wait<5>();
      default:
        return copy_async_wait<6>();
    }
  }

  __device__ void enter_tile() {
    const TileSource& weight = product_.weight;
    const TokenBlock block = next_block_;
    next_block_ = block_of(tile_ + static_cast<int>(gridDim.x));
    const int first_strip = tile_ % row_blocks_ * kBlockStrips;
    const std::byte* expert = expert_at(weight, block.expert);
    const int thread = static_cast<int>(threadIdx.x);
    const auto strip_bytes = static_cast<std::size_t>(weight.k_tiles / kStageTiles) *
                             static_cast<std::size_t>(Stage<Bits>::kStripBytes);
#pragma unroll
    for (int i = 0; i < kTilePieces; ++i) {
      const int piece = thread + i * kGemmThreads;
      const int strip = min(first_strip + piece / kStripPieces, weight.strips - 1);
      tiles_from_[i] = expert + weight.tiles + strip * strip_bytes + piece % kStripPieces * 16;
    }
    const int scale_strip = min(first_strip + (thread >> scale_shift()), weight.strips - 1);
    const int groups = weight.k_tiles * static_cast<int>(kTileColumns) >> group_shift_;
    scales_from_ = expert + weight.scales +
                   (static_cast<std::size_t>(scale_strip) * groups + scale_group()) *
                       Stage<Bits>::kGroupBytes +
                   thread % 8 * 16;

    width_ = width_of(block.count);
#pragma unroll
    for (int i = 0; i < kRowsAThread; ++i) {
      // Rows past the end repeat the last one; what comes of them is not written.
      const int position = block.first + min(thread / kRowPieces + i * kRowStep, block.count - 1);
      const int pair = product_.order != nullptr && product_.pairs_a_row > 0
                           ? product_.order[position] / product_.pairs_a_row
                           : position;
      rows_from_[i] = reinterpret_cast<const std::byte*>(product_.x + pair * product_.x_stride) +
                      thread % kRowPieces * 16;
    }
  }

  __device__ void copy_stage() const {
    const int thread = static_cast<int>(threadIdx.x);
    const unsigned stage = shared_ + write_ * Stage<Bits>::kBytes;
#pragma unroll
    for (int i = 0; i < kTilePieces; ++i) {
      copy_async(
          stage + Stage<Bits>::kTiles + (thread + i * kGemmThreads) * 16,
          tiles_from_[i] + static_cast<std::size_t>(column_stage_) * Stage<Bits>::kStripBytes);
    }
    const int row = thread / kRowPieces;
    const unsigned piece = static_cast<unsigned>(thread % kRowPieces ^ (row % 8)) * 16;
#pragma unroll
    for (int i = 0; i < kRowsAThread; ++i) {
      if (row + i * kRowStep < width_) {
        copy_async(stage + (row + i * kRowStep) * kRowBytes + piece,
                   rows_from_[i] + static_cast<std::size_t>(column_stage_) * kRowBytes);
      }
    }
    if (thread < kBlockStrips << scale_shift()) {
      const unsigned to =
          ((thread >> scale_shift()) * 2 + scale_group()) * Stage<Bits>::kGroupBytes;
      const int first_group = column_stage_ * kStageColumns >> group_shift_;
      copy_async(stage + Stage<Bits>::kScales + to + thread % 8 * 16,
                 scales_from_ + static_cast<std::size_t>(first_group) * Stage<Bits>::kGroupBytes);
    }
  }

  // Of scales, 8 threads copy a group and strip; a stage has one group, or two of 32 columns. One
  // warp does it while the others wait: no divisions.
  __device__ int scale_shift() const {
    return group_shift_ == 5 ? 4 : 3;
  }
  __device__ int scale_group() const {
    return group_shift_ == 5 ? static_cast<int>(threadIdx.x) / 8 % 2 : 0;
  }

  const TileProduct& product_;
  unsigned shared_;
  int stages_, group_shift_;
  int row_blocks_, tiles_, stages_of_tile_;
  int read_ = 0, write_ = 0;

  // Where the next stage is filled from.
  int tile_;
  TokenBlock next_block_;
  int column_stage_ = 0;
  int width_ = 0;
  const std::byte* tiles_from_[kTilePieces];
  const std::byte* scales_from_;
  const std::byte* rows_from_[kRowsAThread];
};

}  // namespace krasis::cuda
