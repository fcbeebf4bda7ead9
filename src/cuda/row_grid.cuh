// Kernels that work on [rows, columns] number by number: how threads cover the numbers, and
// accesses of several numbers at once.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cuda/early_start.cuh"
#include "tensor/tensor.h"

namespace krasis::cuda {

// `kWidth` numbers read or written in one access; their address is a multiple of their size.
template <class T, int kWidth>
struct alignas(sizeof(T) * kWidth) Pack {
  T v[kWidth];
};

template <int kWidth, class T>
__device__ Pack<T, kWidth> load_pack(const T* from) {
  return *reinterpret_cast<const Pack<T, kWidth>*>(from);
}
template <int kWidth, class T>
__device__ void store_pack(T* to, const Pack<T, kWidth>& pack) {
  *reinterpret_cast<Pack<T, kWidth>*>(to) = pack;
}

// Whether every row can be cut into packs of `width` numbers.
template <class T>
bool packs_fit(const BasicRows<T>& rows, int width) {
  const auto address = reinterpret_cast<std::uintptr_t>(rows.data);
  return rows.cols % width == 0 && (rows.rows <= 1 || rows.stride % width == 0) &&
         address % (static_cast<std::size_t>(width) * sizeof(T)) == 0;
}

// Calls f.apply<kWidth>(row, column) for every pack of kWidth columns of [rows, columns].
template <int kWidth, class F>
__global__ void for_each_pack(const F f, std::int64_t rows, std::int64_t columns) {
  let_later_start();
  wait_for_earlier();
  for (std::int64_t row = blockIdx.x * std::int64_t{blockDim.y} + threadIdx.y; row < rows;
       row += std::int64_t{gridDim.x} * blockDim.y) {
    for (std::int64_t column =
             (blockIdx.y * std::int64_t{blockDim.x} + threadIdx.x) * std::int64_t{kWidth};
         column < columns; column += std::int64_t{gridDim.y} * blockDim.x * kWidth)
      f.template apply<kWidth>(row, column);
  }
}

template <int kWidth, class F>
void launch_packs(const F& f, std::int64_t rows, std::int64_t columns, const Launch& launch) {
  if (rows == 0 || columns == 0) return;
  constexpr unsigned kThreads = 256;
  constexpr std::int64_t kMostBlocks = 1 << 20;
  const std::int64_t packs = columns / kWidth;
  unsigned across = 1;
  while (across < kThreads && across < packs) across *= 2;
  const dim3 block(across, kThreads / across);
  const std::int64_t down = (rows + block.y - 1) / block.y;
  const std::int64_t wide = (packs + across - 1) / across;
  const dim3 grid(static_cast<unsigned>(std::min(down, kMostBlocks)),
                  static_cast<unsigned>(std::min<std::int64_t>(wide, 65535)));
  start_early(for_each_pack<kWidth, F>, {.blocks = grid, .threads = block}, launch, f, rows,
              columns);
}

}  // namespace krasis::cuda
