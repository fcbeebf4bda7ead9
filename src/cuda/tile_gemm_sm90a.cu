// The tile product on Hopper: one warp group copies, two compute half of 256 rows each, for all
// tokens of a block. Each goes at its own pace: while one writes its sums out, the tensor cores
// work for the other.
#include "cuda/tile_epilogue.cuh"
#include "cuda/tile_fragments.cuh"
#include "cuda/tile_gemm_hopper.h"
#include "cuda/tile_launch.cuh"
#include "cuda/tile_ring.cuh"
#include "cuda/warp_group.cuh"

namespace krasis::cuda {
namespace {

constexpr int kBlocks = 2;  // of 16 rows a warp: half a strip

// A group's instruction takes 16 rows of each of its four warps; which rows they are is ours to
// choose, and half a strip a warp lets a lane load two blocks' tiles at once. Weights are
// dequantized into one set of registers while the tensor cores read the other. Returns the next
// tile's block, asked for before the sums are written.
template <int Bits, TileOutput Output, int Width>
__device__ TokenBlock compute(RingReader<Bits>& ring, const TileProduct& p, int tile,
                              const TokenBlock& block) {
  using Layout = typename RingReader<Bits>::Layout;
  const int thread = thread_now();
  const int lane = thread % kWarp;
  const int strip = thread / (2 * kWarp);
  const int first_block = thread / kWarp % 2 * kBlocks;
  const bool small_groups = p.weight.group == 32;
  const unsigned lane_tiles =
      Layout::kTiles + strip * Layout::kStripBytes + lane * (4 * Bits) + first_block * Bits;
  const unsigned strip_scales = Layout::kScales + strip * 2 * Layout::kGroupBytes;
  const int stages_of_tile = p.weight.k_tiles / kStageTiles;

  float sums[kBlocks][Width / 8][4] = {};
  unsigned a[2][4];
  LaneScales<kBlocks> scales;
  for (int s = 0; s < stages_of_tile; ++s) {
    const unsigned stage = ring.next();
    scales.load(stage + strip_scales, first_block, lane);
#pragma unroll
    for (int k = 0; k < kStageTiles; ++k) {
      if (k == 2 && small_groups)
        scales.load(stage + strip_scales + Layout::kGroupBytes, first_block, lane);
      TileLane<Bits, kBlocks> words;
      words.load_shared(stage + lane_tiles + k * (kWarp * 4 * Bits));
#pragma unroll
      for (int i = 0; i < kBlocks; ++i) {
        group_wait<1>();  // the product before last has read its registers
        if (k == 0 && i == 1 && s > 0) ring.give_back(1);
        unsigned(&own)[4] = a[i % 2];
        __nv_bfloat162 q[4];
        TileWord<Bits>::values(words.block(i), q);
#pragma unroll
        for (int n = 0; n < 4; ++n) own[n] = as_bits(__hmul2(q[n], scales.rows[i][n % 2]));
        group_fence();
        group_multiply_add(sums[i], own, swizzled_operand(stage + k * 32));
        group_commit();
      }
    }
  }
  const WarpPairs<Output, Width> pairs(p, block, 0);
  const TileGrid grid(p);
  const TokenBlock next = grid.block_of(tile + static_cast<int>(gridDim.x));
  group_wait<0>();
  ring.give_back();
  const int first_row =
      grid.first_strip(tile) * static_cast<int>(kStripRows) + thread_now() / kWarp * (16 * kBlocks);
  const WarpPart part{first_row, 0};
  write_output<Output, kBlocks, Width>(p, block, pairs, part, sums);
  return next;
}

template <int Bits, TileOutput Output>
__device__ TokenBlock compute(RingReader<Bits>& ring, const TileProduct& p, int tile,
                              const TokenBlock& block) {
  if (block.count > 128) return compute<Bits, Output, 160>(ring, p, tile, block);
  if (block.count > 96) return compute<Bits, Output, 128>(ring, p, tile, block);
  if (block.count > 64) return compute<Bits, Output, 96>(ring, p, tile, block);
  if (block.count > 32) return compute<Bits, Output, 64>(ring, p, tile, block);
  return compute<Bits, Output, 32>(ring, p, tile, block);
}

template <int Bits, TileOutput Output>
__global__ void __launch_bounds__(kComputeThreads + kCopyThreads, 1)
    tile_gemm_hopper_kernel(const __grid_constant__ TileProduct p, int stages) {
  extern __shared__ __align__(1024) std::byte shared[];
  const Ring<Bits> ring{shared_address(shared), stages};
  ring.prepare();
  if (threadIdx.x >= kComputeThreads) {
    give_registers<kCopyRegisters>();
    RingWriter<Bits>(p, ring).run();
    return;
  }
  take_registers<kComputeRegisters>();
  RingReader<Bits> reader(ring);
  int tile = static_cast<int>(blockIdx.x);
  TokenBlock block = TileGrid(p).block_of(tile);
  for (; block.count > 0; tile += static_cast<int>(gridDim.x))
    block = compute<Bits, Output>(reader, p, tile, block);
}

struct Kernels {
  static constexpr int kThreads = kComputeThreads + kCopyThreads;
  static constexpr int kLeastStages = 4;
  template <int Bits>
  static constexpr int kStageBytes = Ring<Bits>::Layout::kBytes + Ring<Bits>::kBarrierBytes;
  template <int Bits, TileOutput Output>
  static constexpr auto of() {
    return tile_gemm_hopper_kernel<Bits, Output>;
  }
};

}  // namespace

void tile_gemm_hopper(const TileProduct& product, TileOutput output, const Launch& launch) {
  start_tiles<Kernels>(product, output, launch);
}

}  // namespace krasis::cuda
