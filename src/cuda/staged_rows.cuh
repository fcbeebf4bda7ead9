// A warp's rows of x on their way through shared memory, in turns of 128 columns: read in whole
// lines, and a turn ahead, where reading them in the order of tensor-core fragments would wait for
// the L2 cache again and again.
#pragma once

#include "cuda/tensor_core.cuh"

namespace krasis::cuda {

constexpr int kStagedRows = 8;
constexpr int kStagedColumns = 128;

// Padding: bytes between rows, so that fragments lie in different banks. Aligned: rows begin at
// multiples of 16 bytes, and columns fill such pieces.
template <class X, int Padding, bool Aligned>
class StagedRowsOf {
 public:
  static constexpr int kRowBytes = kStagedColumns * static_cast<int>(sizeof(X)) + Padding;
  static constexpr int kStageBytes = kStagedRows * kRowBytes;
  static constexpr int kWarpBytes = 2 * kStageBytes;

  // `shared` is this warp's. rows[r], r < count, are the same for all lanes; `step` columns lie
  // between the turns.
  __device__ StagedRowsOf(std::byte* shared, const X* const* rows, int count, long long columns,
                          long long first, long long step)
      : shared_(shared), rows_(rows), count_(count), columns_(columns), next_(first), step_(step) {
    fill();
    fill();
  }

  // The turn's rows, kRowBytes apart; columns past the end are 0. All lanes together.
  __device__ const std::byte* take() {
    copy_async_wait<1>();
    __syncwarp();
    return shared_ + taken_ * kStageBytes;
  }
  // They have been used.
  __device__ void give_back() {
    __syncwarp();
    fill();
    taken_ ^= 1;
  }

 private:
  static constexpr int kPiece = 16 / static_cast<int>(sizeof(X));
  static constexpr int kPieces = kStagedColumns / kPiece;  // 32 or 16
  static constexpr int kRowsAtOnce = kWarp / kPieces;

  __device__ void fill() {
    if (next_ < columns_) copy_rows();
    copy_async_commit();
    next_ += step_;
    filled_ ^= 1;
  }

  __device__ void copy_rows() {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const long long column = next_ + lane % kPieces * kPiece;
    std::byte* to = shared_ + filled_ * kStageBytes + lane % kPieces * 16;
#pragma unroll 1
    for (int r = lane / kPieces; r < count_; r += kRowsAtOnce) {
      const X* from = rows_[r] + column;
      if constexpr (Aligned) {
        const bool exists = column < columns_;
        copy_async_cached_or_zero(shared_address(to + r * kRowBytes), exists ? from : rows_[r],
                                  exists);
      } else {
#pragma unroll
        for (int i = 0; i < kPiece; ++i)
          reinterpret_cast<X*>(to + r * kRowBytes)[i] = column + i < columns_ ? from[i] : X{};
      }
    }
  }

  std::byte* shared_;
  const X* const* rows_;
  int count_;
  long long columns_, next_, step_;
  int filled_ = 0, taken_ = 0;
};

}  // namespace krasis::cuda
