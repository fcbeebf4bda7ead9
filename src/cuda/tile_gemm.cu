#include <algorithm>

#include "base/error.h"
#include "cuda/runtime.h"
#include "cuda/tile_compute.cuh"
#include "cuda/tile_gemm.h"
#include "cuda/tile_gemm_hopper.h"

namespace krasis::cuda {
namespace {

constexpr int kMaxStages = 8;

template <int Bits, TileOutput Output>
__global__ void __launch_bounds__(kGemmThreads, 1)
    tile_gemm_kernel(const __grid_constant__ TileProduct p, int stages) {
  extern __shared__ __align__(1024) std::byte shared[];
  Pipeline<Bits, 1> pipeline(p, shared_address(shared), stages);
  const int step = static_cast<int>(gridDim.x);
  TokenBlock next = pipeline.block_of(static_cast<int>(blockIdx.x));
  for (int tile = static_cast<int>(blockIdx.x); tile < pipeline.tiles(); tile += step) {
    const TokenBlock block = next;
    next = pipeline.block_of(tile + step);  // long before it is needed
    const int first_strip = tile % pipeline.row_blocks() * kBlockStrips;
    switch (width_of(block.count)) {
      case 128:
        compute_tile<Bits, Output, 128>(pipeline, p, block, first_strip);
        break;
      case 64:
        compute_tile<Bits, Output, 64>(pipeline, p, block, first_strip);
        break;
      case 32:
        compute_tile<Bits, Output, 32>(pipeline, p, block, first_strip);
        break;
      default:
        compute_tile<Bits, Output, 16>(pipeline, p, block, first_strip);
    }
  }
}

template <int Bits, TileOutput Output>
void start(const TileProduct& product, const Launch& launch) {
  constexpr int kBytes = Stage<Bits>::kBytes;
  const int stages = std::min(static_cast<int>(launch.device.shared_bytes) / kBytes, kMaxStages);
  ensure(stages >= 2, "tile_gemm: too little shared memory");
  const auto kernel = tile_gemm_kernel<Bits, Output>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, stages * kBytes),
        "setting the tile product's shared memory");
  kernel<<<launch.device.multiprocessors, kGemmThreads, stages * kBytes, launch.stream>>>(product,
                                                                                          stages);
  check_launch("tile_gemm");
}

template <int Bits>
void start(const TileProduct& product, TileOutput output, const Launch& launch) {
  switch (output) {
    case TileOutput::Gated:
      return start<Bits, TileOutput::Gated>(product, launch);
    case TileOutput::Pairs:
      return start<Bits, TileOutput::Pairs>(product, launch);
    case TileOutput::Sums:
      return start<Bits, TileOutput::Sums>(product, launch);
  }
}

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
  if (launch.device.capability == 90) return tile_gemm_hopper(product, output, launch);
  if (product.weight.bits == 4) {
    start<4>(product, output, launch);
  } else {
    start<8>(product, output, launch);
  }
}

}  // namespace krasis::cuda
