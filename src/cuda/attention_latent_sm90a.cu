// Latent attention of many rows on Hopper. Two warp groups share 64 packed rows: of each tile of
// 64 keys each scores 32, and then computes half of the values' columns. All operands are read from
// shared memory by the tensor cores, where registers would have to be filled over and over.
#include "cuda/attention_parts.cuh"
#include "cuda/runtime.h"
#include "cuda/shared_products.cuh"

namespace krasis::cuda {
namespace {

constexpr int kRows = 64;
constexpr int kKeys = 64;  // of a tile
constexpr int kKeyDim = 576;
constexpr int kValueDim = 512;
constexpr int kThreads = 256;
constexpr int kGroupThreads = 128;
constexpr int kGroupKeys = kKeys / 2;
constexpr int kGroupColumns = kValueDim / 2;
constexpr int kHeldSteps = 12;  // of 16 columns of the queries, in as many registers as are left
constexpr unsigned kPanel = 64 * 128;  // bytes; rows and keys are as many
using Layout = PanelLayout<kKeyDim, kKeys>;
constexpr int kTileNumbers = kKeys * kKeyDim;  // the queries take the same
constexpr std::size_t kSharedBytes =
    sizeof(Bits16) * (3 * kTileNumbers + kRows * kKeys) + sizeof(float) * 2 * kRows;

struct Warp {
  int lane, group, row;  // the row in the block of this lane's first row; the other is 8 on
  Bits16* weights;       // [rows, keys]
  float* row_numbers;    // [2 groups, rows]
};

struct LatentFragments {
  unsigned queries[kHeldSteps][4];
  float scores[4][4];
  float out[2][16][4];  // two times 128 columns
  RowState state[2];    // the sum is of this group's keys only
};

// scores = queries keys^T, of this group's keys
__device__ void multiply_keys(LatentFragments& f, unsigned queries, unsigned keys) {
  const SharedOperand a = swizzled_operand(queries);
  const SharedOperand b = swizzled_operand(keys);
  hold(f.scores);
  group_fence();
#pragma unroll
  for (int k = 0; k < kKeyDim / 16; ++k) {
    const unsigned at = static_cast<unsigned>(k / 4) * kPanel + static_cast<unsigned>(k % 4) * 32;
    if (k < kHeldSteps) {
      multiply_rows(f.scores, f.queries[k % kHeldSteps], further(b, at), k != 0);
    } else {
      multiply_rows(f.scores, further(a, at), further(b, at), true);
    }
  }
  group_commit();
  group_wait<0>();
  hold(f.scores);
}

// out += weights values, of this group's columns
__device__ void multiply_values(float (&out)[2][16][4], unsigned weights, unsigned values) {
  const SharedOperand a = swizzled_operand(weights);
  const SharedOperand b = across_panels(swizzled_operand(values), kPanel);
  hold(out[0]);
  hold(out[1]);
  group_fence();
#pragma unroll
  for (int k = 0; k < kKeys / 16; ++k) {
    const auto step = static_cast<unsigned>(k);
    multiply_columns(out[0], further(a, step * 32), further(b, step * 16 * 128));
    multiply_columns(out[1], further(a, step * 32), further(b, 2 * kPanel + step * 16 * 128));
  }
  group_commit();
  group_wait<0>();
  hold(out[0]);
  hold(out[1]);
}

// Takes out the keys after each row's own position; `first` is the position of the group's first
// key.
__device__ void mask(LatentFragments& f, const AttentionTile& tile, const Warp& warp, int first) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int last = tile.position(warp.row + r * 8) - first - warp.lane % 4 * 2;
#pragma unroll
    for (int n = 0; n < kGroupKeys / 8; ++n) {
      if (n * 8 > last) f.scores[n][2 * r] = kNoScore;
      if (n * 8 + 1 > last) f.scores[n][2 * r + 1] = kNoScore;
    }
  }
}

// Turns scores into weights and leaves them in shared memory.
__device__ void weigh(LatentFragments& f, const Warp& warp) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float largest = kNoScore;
#pragma unroll
    for (int n = 0; n < kGroupKeys / 8; ++n)
      largest = fmaxf(largest, fmaxf(f.scores[n][2 * r], f.scores[n][2 * r + 1]));
    largest = largest_of_four(largest);
    if (warp.lane % 4 == 0) warp.row_numbers[warp.group * kRows + warp.row + r * 8] = largest;
  }
  __syncthreads();
  float factors[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = warp.row + r * 8;
    RowState& state = f.state[r];
    factors[r] = state.raise(fmaxf(warp.row_numbers[row], warp.row_numbers[kRows + row]));
    const float base = state.base();
    char* const weights = reinterpret_cast<char*>(warp.weights) + row * 128 + warp.lane % 4 * 4;
#pragma unroll
    for (int n = 0; n < kGroupKeys / 8; ++n) {
      const float first = power_of_two(f.scores[n][2 * r] - base);
      const float second = power_of_two(f.scores[n][2 * r + 1] - base);
      state.sum += first + second;
      const int chunk = (warp.group * (kGroupKeys / 8) + n) ^ (row % 8);
      *reinterpret_cast<unsigned*>(weights + chunk * 16) = pack_bf16(first, second);
    }
  }
  if (scale_is_needed(factors)) {
    scale_rows(f.out[0], factors);
    scale_rows(f.out[1], factors);
  }
  publish_shared();
  __syncthreads();
}

__device__ void write(const AttentionArguments& a, const AttentionTile& tile, LatentFragments& f,
                      const Warp& warp) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float sum = sum_of_four(f.state[r].sum);
    if (warp.lane % 4 == 0) warp.row_numbers[warp.group * kRows + warp.row + r * 8] = sum;
  }
  __syncthreads();
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = warp.row + r * 8;
    f.state[r].sum = warp.row_numbers[row] + warp.row_numbers[kRows + row];
    const RowOutput out =
        RowOutput::of<kValueDim>(a, tile, row, f.state[r], warp.group == 0 && warp.lane % 4 == 0);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int n = 0; n < 16; ++n) {
        out.store(warp.group * kGroupColumns + half * 128 + n * 8 + warp.lane % 4 * 2,
                  f.out[half][n][2 * r], f.out[half][n][2 * r + 1]);
      }
    }
  }
}

__global__ void __launch_bounds__(kThreads, 1) latent_rows(const AttentionArguments a) {
  extern __shared__ __align__(1024) Bits16 shared[];
  AttentionTile tile;
  if (!find_tile<kRows, kKeys>(a, tile)) return;
  Bits16* const stages = shared + kTileNumbers;
  Bits16* const weights = stages + 2 * kTileNumbers;
  const auto thread = static_cast<int>(threadIdx.x);
  const int lane = thread % kWarp;
  const Warp warp{.lane = lane,
                  .group = static_cast<int>(warp_group()),
                  .row = thread % kGroupThreads / kWarp * 16 + lane / 4,
                  .weights = weights,
                  .row_numbers = reinterpret_cast<float*>(weights + kRows * kKeys)};
  using Reader = PageReader<kKeys, kThreads>;
  Reader reader(a, tile);
  const auto fetch = [&](int j) {
    if (j < tile.end) Reader::copy<Layout>(a.keys, reader.next(), stages + j % 2 * kTileNumbers);
    copy_async_commit();
  };

  LatentFragments f{};
  fetch(tile.begin);
  load_full_queries<kRows, Layout, kThreads>(a, tile, 0, shared);
  __syncthreads();
  load_rows(f.queries, shared_address(shared) + threadIdx.x % kGroupThreads / kWarp * 16 * 128,
            kPanel);
  for (int j = tile.begin; j < tile.end; ++j) {
    copy_async_wait<0>();
    publish_shared();
    __syncthreads();  // the tile is there, and nobody reads the one before any more
    fetch(j + 1);
    const unsigned keys = shared_address(stages + j % 2 * kTileNumbers);
    const auto group = static_cast<unsigned>(warp.group);
    multiply_keys(f, shared_address(shared), keys + group * kGroupKeys * 128);
    const int first = j * kKeys + warp.group * kGroupKeys;
    if ((j + 1) * kKeys > tile.seen_by_all) mask(f, tile, warp, first);
    weigh(f, warp);
    multiply_values(f.out, shared_address(weights), keys + group * (kGroupColumns / 64) * kPanel);
  }
  write(a, tile, f, warp);
}

}  // namespace

void attention_latent_hopper(const AttentionArguments& a, cudaStream_t stream) {
  check(cudaFuncSetAttribute(latent_rows, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(kSharedBytes)),
        "asking for the shared memory of attention");
  const dim3 grid(static_cast<unsigned>(a.part.row_tiles * a.kv_heads * a.part.splits),
                  static_cast<unsigned>(a.tables.segments));
  latent_rows<<<grid, kThreads, kSharedBytes, stream>>>(a);
  check_launch("latent attention of many rows");
}

}  // namespace krasis::cuda
