// Starts a tile product's kernel. `Kernels` says which: of<Bits, Output>(), kThreads, kLeastStages,
// and for Bits the bytes of a stage of its ring, kStageBytes<Bits>, with what goes with a stage.
#pragma once

#include <algorithm>

#include "base/error.h"
#include "cuda/runtime.h"
#include "cuda/tile_gemm.h"

namespace krasis::cuda {

template <class Kernels, int Bits, TileOutput Output>
void start_tiles(const TileProduct& product, const Launch& launch) {
  constexpr int kMaxStages = 8;
  constexpr int kBytes = Kernels::template kStageBytes<Bits>;
  const int stages = std::min(static_cast<int>(launch.device.shared_bytes) / kBytes, kMaxStages);
  ensure(stages >= Kernels::kLeastStages, "tile_gemm: too little shared memory");
  const auto kernel = Kernels::template of<Bits, Output>();
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, stages * kBytes),
        "setting the tile product's shared memory");
  kernel<<<launch.device.multiprocessors, Kernels::kThreads, stages * kBytes, launch.stream>>>(
      product, stages);
  check_launch("tile_gemm");
}

template <class Kernels, int Bits>
void start_tiles(const TileProduct& product, TileOutput output, const Launch& launch) {
  switch (output) {
    case TileOutput::Gated:
      return start_tiles<Kernels, Bits, TileOutput::Gated>(product, launch);
    case TileOutput::Pairs:
      return start_tiles<Kernels, Bits, TileOutput::Pairs>(product, launch);
    case TileOutput::Sums:
      return start_tiles<Kernels, Bits, TileOutput::Sums>(product, launch);
  }
}

template <class Kernels>
void start_tiles(const TileProduct& product, TileOutput output, const Launch& launch) {
  if (product.weight.bits == 4) {
    start_tiles<Kernels, 4>(product, output, launch);
  } else {
    start_tiles<Kernels, 8>(product, output, launch);
  }
}

}  // namespace krasis::cuda
