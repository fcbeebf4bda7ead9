#include <algorithm>

#include "base/error.h"
#include "cuda/runtime.h"
#include "cuda/tile_compute.cuh"
#include "cuda/tile_gemm_hopper.h"
#include "cuda/warp_group.cuh"

namespace krasis::cuda {
namespace {

constexpr int kMaxStages = 8;
constexpr int kHeld = 2;
constexpr int kBlocks = 2;  // of 16 rows a warp: half a strip

// A group's instruction takes 16 rows of each of its four warps; which rows they are is ours to
// choose, and half a strip a warp lets a lane load two blocks' tiles at once. The weights of a step
// are dequantized into one set of registers while the tensor cores read the other.
template <int Bits, TileOutput Output, int Width>
__device__ void compute_wide(Pipeline<Bits, kHeld>& pipeline, const TileProduct& p,
                             const TokenBlock& block, int first_strip) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int strip = warp / 2;
  const int first_block = warp % 2 * kBlocks;
  const int group = p.weight.group;
  const unsigned lane_tiles = Stage<Bits>::kTiles + strip * Stage<Bits>::kStripBytes +
                              lane * (4 * Bits) + first_block * Bits;
  const unsigned strip_scales = Stage<Bits>::kScales + strip * 2 * Stage<Bits>::kGroupBytes;

  float sums[kBlocks][Width / 8][4] = {};
  unsigned a[2][kBlocks][4];
  LaneScales<kBlocks> scales;
  for (int s = 0; s < pipeline.stages_of_tile(); ++s) {
    const unsigned stage = pipeline.next();
    scales.load(stage + strip_scales, first_block, lane);
#pragma unroll
    for (int k = 0; k < kStageTiles; ++k) {
      if (k == 2 && group == 32)
        scales.load(stage + strip_scales + Stage<Bits>::kGroupBytes, first_block, lane);
      TileLane<Bits, kBlocks> tile;
      tile.load_shared(stage + lane_tiles + k * (kWarp * 4 * Bits));
      group_wait<1>();  // the step before last has read its registers
#pragma unroll
      for (int i = 0; i < kBlocks; ++i) {
        __nv_bfloat162 q[4];
        TileWord<Bits>::values(tile.block(i), q);
#pragma unroll
        for (int n = 0; n < 4; ++n) a[k % 2][i][n] = as_bits(__hmul2(q[n], scales.rows[i][n % 2]));
      }
      group_fence();
      const unsigned long long x = swizzled_operand(stage + k * 32);
#pragma unroll
      for (int i = 0; i < kBlocks; ++i) group_multiply_add(sums[i], a[k % 2][i], x);
      group_commit();
      if (k == 0) pipeline.fill();
    }
  }
  const WarpPairs<Output, Width> pairs(p, block, 0);
  group_wait<0>();
  const WarpPart part{(first_strip + strip) * static_cast<int>(kStripRows) + first_block * 16, 0};
  write_output<Output, kBlocks, Width>(p, block, pairs, part, sums);
}

template <int Bits, TileOutput Output>
__global__ void __launch_bounds__(kGemmThreads, 1)
    tile_gemm_hopper_kernel(const __grid_constant__ TileProduct p, int stages) {
  extern __shared__ __align__(1024) std::byte shared[];
  Pipeline<Bits, kHeld> pipeline(p, shared_address(shared), stages);
  const int step = static_cast<int>(gridDim.x);
  TokenBlock next = pipeline.block_of(static_cast<int>(blockIdx.x));
  for (int tile = static_cast<int>(blockIdx.x); tile < pipeline.tiles(); tile += step) {
    const TokenBlock block = next;
    next = pipeline.block_of(tile + step);  // long before it is needed
    const int first_strip = tile % pipeline.row_blocks() * kBlockStrips;
    switch (width_of(block.count)) {
      case 128:
        compute_wide<Bits, Output, 128>(pipeline, p, block, first_strip);
        break;
      case 64:
        compute_wide<Bits, Output, 64>(pipeline, p, block, first_strip);
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
  ensure(stages > kHeld, "tile_gemm: too little shared memory");
  const auto kernel = tile_gemm_hopper_kernel<Bits, Output>;
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

void tile_gemm_hopper(const TileProduct& product, TileOutput output, const Launch& launch) {
  if (product.weight.bits == 4) {
    start<4>(product, output, launch);
  } else {
    start<8>(product, output, launch);
  }
}

}  // namespace krasis::cuda
