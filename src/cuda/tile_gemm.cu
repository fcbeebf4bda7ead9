#include "cuda/tile_compute.cuh"
#include "cuda/tile_gemm.h"
#include "cuda/tile_gemm_hopper.h"
#include "cuda/tile_launch.cuh"

namespace krasis::cuda {
namespace {

template <int Bits, TileOutput Output>
__global__ void __launch_bounds__(kGemmThreads, 1)
    tile_gemm_kernel(const __grid_constant__ TileProduct p, int stages) {
  extern __shared__ __align__(1024) std::byte shared[];
  Pipeline<Bits> pipeline(p, shared_address(shared), stages);
  const TileGrid& grid = pipeline.grid();
  const int step = static_cast<int>(gridDim.x);
  TokenBlock next = grid.block_of(static_cast<int>(blockIdx.x));
  for (int tile = static_cast<int>(blockIdx.x); tile < grid.tiles(); tile += step) {
    const TokenBlock block = next;
    next = grid.block_of(tile + step);  // long before it is needed
    const int first_strip = grid.first_strip(tile);
    if (block.count > 64) {
      compute_tile<Bits, Output, 128>(pipeline, p, block, first_strip);
    } else if (block.count > 32) {
      compute_tile<Bits, Output, 64>(pipeline, p, block, first_strip);
    } else if (block.count > 16) {
      compute_tile<Bits, Output, 32>(pipeline, p, block, first_strip);
    } else {
      compute_tile<Bits, Output, 16>(pipeline, p, block, first_strip);
    }
  }
}

struct Kernels {
  static constexpr int kThreads = kGemmThreads;
  static constexpr int kLeastStages = 2;
  template <int Bits>
  static constexpr int kStageBytes = Pipeline<Bits>::Layout::kBytes;
  template <int Bits, TileOutput Output>
  static constexpr auto of() {
    return tile_gemm_kernel<Bits, Output>;
  }
};

}  // namespace

TileSource TileSource::of(const TileShape& shape, const std::byte* base, std::size_t tiles,
                          std::size_t scales) {
  TileSource source;
  source.base = base;
  source.tiles = tiles;
  source.scales = scales;
  source.bits = shape.type.bits;
  source.group = shape.type.group;
  source.strips = static_cast<int>(shape.strips());
  source.k_tiles = static_cast<int>(shape.padded_columns / kTileColumns);
  return source;
}

void tile_gemm(const TileProduct& product, TileOutput output, const Launch& launch) {
  if (product.positions == 0) return;
  TileProduct chosen = product;
  if (product.blocks == nullptr) {
    chosen.block_tokens = dense_block_tokens(
        product.positions, (product.weight.strips + kBlockStrips - 1) / kBlockStrips,
        launch.device.multiprocessors, launch.device.capability);
  }
  if (launch.device.capability == 90) return tile_gemm_hopper(chosen, output, launch);
  start_tiles<Kernels>(chosen, output, launch);
}

}  // namespace krasis::cuda
