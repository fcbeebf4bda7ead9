// Rows of an E4M3 cache on their way into shared memory, where they lie as BF16.
#pragma once

#include "cuda/attention_parts.cuh"
#include "cuda/float8.cuh"

namespace krasis::cuda {

// This thread's part of a tile of kKeys rows: of the row that PageReader gives it.
template <int kDim, int kKeys, int kThreads>
class NarrowRows {
 public:
  // cache_row < 0: zeros. The reads are under way when this returns.
  __device__ void load(const Bits16* cache, int cache_row) {
    const auto* const from =
        reinterpret_cast<const std::uint8_t*>(cache) + std::int64_t{cache_row} * kDim;
#pragma unroll
    for (int i = 0; i < kTurns; ++i) {
      pieces_[i] = {};
      if (cache_row >= 0) pieces_[i] = load_stream(from + piece(i) * 16);
    }
  }

  // Rows as RowLayout<kDim> has them.
  __device__ void store(Bits16* to) const {
    using Layout = RowLayout<kDim>;
    const int r = row();
    char* const at = reinterpret_cast<char*>(to) + r * Layout::kPitch;
#pragma unroll
    for (int i = 0; i < kTurns; ++i) {
      const WidenedPiece widened = widen(pieces_[i]);
      const int chunk = 2 * piece(i);
      char* const panel = at + chunk / 8 * Layout::kPanel;
      *reinterpret_cast<uint4*>(panel + (chunk ^ r) % 8 * 16) = widened.low;
      *reinterpret_cast<uint4*>(panel + ((chunk + 1) ^ r) % 8 * 16) = widened.high;
    }
  }

 private:
  static constexpr int kPerRow = kThreads / kKeys;  // as PageReader
  static constexpr int kTurns = kDim / 16 / kPerRow;
  static_assert(kPerRow == 2 || kPerRow == 4);
  static_assert(kDim % (16 * kPerRow) == 0 && (kPerRow == 4 || kTurns % 2 == 0));

  __device__ static int row() {
    return static_cast<int>(threadIdx.x) / kPerRow;
  }
  // Of turn i. Two threads a row: every other pair of rows begins with the next piece, so that
  // eight lanes write to all banks.
  __device__ static int piece(int i) {
    const int twist = kPerRow == 2 ? row() / 2 % 2 * 2 : 0;
    return (i * kPerRow + static_cast<int>(threadIdx.x) % kPerRow) ^ twist;
  }

  uint4 pieces_[kTurns];
};

}  // namespace krasis::cuda
