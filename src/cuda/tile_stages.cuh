// What the tile product's operands look like in shared memory, and how they get there: output tiles
// are worked through in stages of 64 columns, whose rows of x and tiles are copied by cp.async.
#pragma once

#include "cuda/tensor_core.cuh"
#include "cuda/tile_gemm.h"

namespace krasis::cuda {

constexpr int kStageColumns = 64;
constexpr int kStageTiles = kStageColumns / kTileColumns;
constexpr int kBlockStrips = 4;
constexpr int kRowBytes = kStageColumns * 2;  // of x in a stage: 8 pieces of 16 bytes, swizzled

// A stage: [Tokens rows of x][4 strips' tiles][4 strips][2 groups][64 scales].
template <int Bits, int Tokens>
struct Stage {
  static constexpr int kTokenBytes = Tokens * kRowBytes;
  static constexpr int kStripBytes = kStripRows * kStageColumns * Bits / 8;
  static constexpr int kTiles = kTokenBytes;
  static constexpr int kScales = kTiles + kBlockStrips * kStripBytes;
  static constexpr int kGroupBytes = kStripRows * 2;
  static constexpr int kBytes = kScales + kBlockStrips * 2 * kGroupBytes;
};

// The output tiles of a product; those of a block of tokens follow each other.
class TileGrid {
 public:
  __device__ explicit TileGrid(const TileProduct& product)
      : product_(product),
        row_blocks_((product.weight.strips + kBlockStrips - 1) / kBlockStrips),
        tiles_(block_count() * row_blocks_) {}

  __device__ int tiles() const { return tiles_; }
  __device__ int first_strip(int tile) const { return tile % row_blocks_ * kBlockStrips; }
  __device__ int stages_of_tile() const { return product_.weight.k_tiles / kStageTiles; }

  // Nothing past the last.
  __device__ TokenBlock block_of(int tile) const {
    if (tile >= tiles_) return {};
    const int index = tile / row_blocks_;
    if (product_.blocks != nullptr) {
      const int4 v = __ldg(reinterpret_cast<const int4*>(product_.blocks) + index);
      return {v.x, v.y, v.z, v.w};
    }
    const int first = index * product_.block_tokens;
    return {0, first, min(product_.block_tokens, product_.positions - first), 0};
  }

 private:
  __device__ int block_count() const {
    return product_.blocks != nullptr
               ? *product_.block_count
               : (product_.positions + product_.block_tokens - 1) / product_.block_tokens;
  }

  const TileProduct& product_;
  int row_blocks_, tiles_;
};

// Where an output tile's stages are copied from, by `Threads` threads together.
template <int Bits, int Tokens, int Threads>
class StageSource {
 public:
  using Layout = Stage<Bits, Tokens>;

  __device__ explicit StageSource(const TileProduct& product)
      : product_(product),
        group_shift_(product.weight.group == 32   ? 5
                     : product.weight.group == 64 ? 6
                                                  : 7) {}

  __device__ void enter(const TokenBlock& block, int first_strip) {
    const TileSource& weight = product_.weight;
    const std::byte* expert = weight.table != nullptr
                                  ? weight.table[block.expert]
                                  : weight.base + block.expert * weight.expert_bytes;
    last_strip_ = weight.strips - 1 - first_strip;
    tiles_from_ = expert + weight.tiles + static_cast<std::size_t>(first_strip) * strip_bytes();
    const int scale_strip = first_strip + min(thread() >> scale_shift(), last_strip_);
    const int groups = weight.k_tiles * static_cast<int>(kTileColumns) >> group_shift_;
    scales_from_ =
        expert + weight.scales +
        (static_cast<std::size_t>(scale_strip) * groups + scale_group()) * Layout::kGroupBytes +
        thread() % 8 * 16;
    width_ = block.count;
    const auto row_pieces = static_cast<unsigned>(product_.x_stride / 8);
#pragma unroll
    for (int i = 0; i < kHeldRows; ++i) {
      const int r = i * kWarp + thread() % kWarp;
      const int row = r / kWarpRows * kRowStep + thread() / kWarp * kWarpRows + r % kWarpRows;
      // Rows past the end repeat the last one; what comes of them is not written.
      const int position = block.first + min(row, block.count - 1);
      const int x_row = product_.order != nullptr && product_.pairs_a_row > 0
                            ? product_.order[position] / product_.pairs_a_row
                            : position;
      rows_[i] = static_cast<unsigned>(x_row) * row_pieces;
    }
  }

  __device__ void copy(unsigned stage, int column_stage) const {
#pragma unroll
    for (int i = 0; i < kTilePieces; ++i) {
      const int piece = thread() + i * Threads;
      const auto strip = static_cast<std::size_t>(min(piece / kStripPieces, last_strip_));
      copy_async(stage + Layout::kTiles + piece * 16,
                 tiles_from_ + strip * strip_bytes() +
                     static_cast<unsigned>(column_stage * Layout::kStripBytes +
                                           piece % kStripPieces * 16));
    }
    const int row = thread() / kRowPieces;
    const int piece = thread() % kRowPieces;
    const unsigned to = stage + row * kRowBytes + static_cast<unsigned>(piece ^ (row % 8)) * 16;
    const auto* x = reinterpret_cast<const uint4*>(product_.x) + column_stage * kRowPieces + piece;
#pragma unroll
    for (int i = 0; i < kRowsAThread; ++i) {
      const int held = i * kWarpRows;
      const unsigned from = __shfl_sync(0xFFFFFFFFu, rows_[held / kWarp],
                                        held % kWarp + thread() % kWarp / kRowPieces);
      if (i * kRowStep < width_) copy_async(to + i * (kRowStep * kRowBytes), x + from);
    }
    if (thread() < kBlockStrips << scale_shift()) {
      const unsigned scales =
          ((thread() >> scale_shift()) * 2 + scale_group()) * Layout::kGroupBytes;
      const int first_group = column_stage * kStageColumns >> group_shift_;
      copy_async(stage + Layout::kScales + scales + thread() % 8 * 16,
                 scales_from_ + static_cast<std::size_t>(first_group) * Layout::kGroupBytes);
    }
  }

 private:
  static constexpr int kTilePieces = kBlockStrips * Layout::kStripBytes / 16 / Threads;
  static constexpr int kStripPieces = Layout::kStripBytes / 16;
  static constexpr int kRowPieces = kRowBytes / 16;
  static constexpr int kRowStep = Threads / kRowPieces;
  static constexpr int kRowsAThread = Tokens / kRowStep;
  // Rows that a warp copies at a time; a lane holds where some of the warp's rows are.
  static constexpr int kWarpRows = kWarp / kRowPieces;
  static constexpr int kHeldRows = (kRowsAThread * kWarpRows + kWarp - 1) / kWarp;

  __device__ static int thread() {
    return static_cast<int>(threadIdx.x) % Threads;
  }
  __device__ std::size_t strip_bytes() const {
    return static_cast<std::size_t>(product_.weight.k_tiles / kStageTiles * Layout::kStripBytes);
  }

  // Of scales, 8 threads copy a group and strip; a stage has one group, or two of 32 columns. One
  // warp does it while the others wait: no divisions.
  __device__ int scale_shift() const {
    return group_shift_ == 5 ? 4 : 3;
  }
  __device__ int scale_group() const {
    return group_shift_ == 5 ? thread() / 8 % 2 : 0;
  }

  const TileProduct& product_;
  int group_shift_;
  int last_strip_ = 0;  // from the tile's first on
  int width_ = 0;
  const std::byte* tiles_from_ = nullptr;
  const std::byte* scales_from_ = nullptr;
  unsigned rows_[kHeldRows] = {};  // in pieces of 16 bytes from x
};

}  // namespace krasis::cuda
