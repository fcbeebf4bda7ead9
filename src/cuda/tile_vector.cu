// The product for few rows. A block owns a strip of one expert; its warps take the strip's columns
// in turns of 128, each lane reads 16 bytes of a k-tile at a time straight into registers, and the
// warps' sums are added in shared memory. Up to eight rows of x are the columns of one
// tensor-core instruction, so that they cost no more than one.
#include <algorithm>

#include "base/error.h"
#include "cuda/runtime.h"
#include "cuda/tile_fragments.cuh"
#include "cuda/tile_gemm.h"

namespace krasis::cuda {
namespace {

constexpr int kRows = 8;  // of x: the columns of an mma
constexpr int kTurnColumns = 128;
constexpr int kTurnTiles = kTurnColumns / kTileColumns;
constexpr int kMaxWarps = 8;
constexpr int kStrip = static_cast<int>(kStripRows);

// The pairs that this block works for: those of ids[pair] from `pair` on, when it is the first, the
// ninth, ... of its expert; none otherwise. A warp.
struct PairList {
  int pairs[kRows];
  int count;
  int expert;
};

__device__ void find_pairs(const TileVector& p, int pair, int lane, PairList& list) {
  if (p.ids == nullptr) {
    if (lane < kRows) list.pairs[lane] = pair * kRows + lane;
    if (lane == 0) list.count = min(kRows, p.pairs - pair * kRows), list.expert = 0;
    return;
  }
  const int expert = p.ids[pair];
  int before = 0;
  int found = 0;
  for (int start = 0; start < p.pairs; start += kWarp) {
    const int other = start + lane;
    const bool same = other < p.pairs && p.ids[other] == expert;
    before += __popc(__ballot_sync(0xFFFFFFFFu, same && other < pair));
    const unsigned later = __ballot_sync(0xFFFFFFFFu, same && other >= pair);
    const int place = found + __popc(later & ((1u << lane) - 1));
    if (same && other >= pair && place < kRows) list.pairs[place] = other;
    found += __popc(later);
  }
  if (lane == 0) {
    list.count = before % kRows == 0 ? min(found, kRows) : 0;
    list.expert = expert;
  }
}

// How many blocks of a strip have pairs: all that will arrive at its counter. A block.
__device__ int leaders_of(const TileVector& p) {
  int leaders = 0;
  for (int start = 0; start < p.pairs; start += static_cast<int>(blockDim.x)) {
    const int pair = start + static_cast<int>(threadIdx.x);
    int before = 0;
    if (pair < p.pairs) {
      for (int other = 0; other < pair; ++other) before += p.ids[other] == p.ids[pair] ? 1 : 0;
    }
    leaders += __syncthreads_count(pair < p.pairs && before % kRows == 0);
  }
  return leaders;
}

// Two neighbouring elements of x as BF16.
template <class X>
__device__ unsigned load_two(const X* row, int column, int columns) {
  if (row == nullptr || column >= columns) return 0;
  if constexpr (sizeof(X) == 2) {
    return *reinterpret_cast<const unsigned*>(row + column);
  } else {
    const float2 v = *reinterpret_cast<const float2*>(row + column);
    return pack_bf16(v.x, v.y);
  }
}

template <int Bits>
struct TurnTiles {
  static constexpr int kLaneWords = Bits;  // 4 blocks of 16 rows
  unsigned words[kTurnTiles][kLaneWords];

  __device__ void load(const std::byte* turn, int lane) {
    const auto* from = reinterpret_cast<const uint4*>(turn) + lane * (Bits / 4);
#pragma unroll
    for (int t = 0; t < kTurnTiles; ++t) {
#pragma unroll
      for (int i = 0; i < kLaneWords; i += 4) {
        const uint4 v = __ldcs(from + t * kWarp * (Bits / 4) + i / 4);
        words[t][i] = v.x, words[t][i + 1] = v.y, words[t][i + 2] = v.z, words[t][i + 3] = v.w;
      }
    }
  }
};

// sums += scale * (the group's q x), one group.
__device__ inline void add_group(const uint4& scales, const float (&part)[4][4],
                                 float (&sums)[4][4]) {
  const float2 a[2] = {unpack_bf16(scales.x), unpack_bf16(scales.y)};
  const float2 b[2] = {unpack_bf16(scales.z), unpack_bf16(scales.w)};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float scale_a = i % 2 == 0 ? a[i / 2].x : a[i / 2].y;
    const float scale_b = i % 2 == 0 ? b[i / 2].x : b[i / 2].y;
    sums[i][0] += scale_a * part[i][0];
    sums[i][1] += scale_a * part[i][1];
    sums[i][2] += scale_b * part[i][2];
    sums[i][3] += scale_b * part[i][3];
  }
}

// One warp's share of the strip's products: turns first, first + step, ...
template <int Bits, int Group, class X>
__device__ void multiply_turns(const TileVector& p, const std::byte* strip, const std::byte* scales,
                               const X* row, float (&sums)[4][4]) {
  constexpr int kTurnBytes = kStrip * kTurnColumns * Bits / 8;
  constexpr int kGroups = kTurnColumns / Group;
  constexpr int kGroupTiles = Group / static_cast<int>(kTileColumns);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int turns = p.weight.k_tiles / kTurnTiles;
  const int step = static_cast<int>(blockDim.x) / kWarp;
  for (int turn = static_cast<int>(threadIdx.x) / kWarp; turn < turns; turn += step) {
    TurnTiles<Bits> tiles;
    tiles.load(strip + static_cast<std::size_t>(turn) * kTurnBytes, lane);
    const auto* turn_scales = reinterpret_cast<const uint4*>(
        scales + static_cast<std::size_t>(turn) * (kGroups * kStrip * 2) + lane / 4 * 16);
#pragma unroll
    for (int g = 0; g < kGroups; ++g) {
      const uint4 group_scales = turn_scales[g * (kStrip * 2 / 16)];
      float part[4][4] = {};
#pragma unroll
      for (int t = 0; t < kGroupTiles; ++t) {
        const int tile = g * kGroupTiles + t;
        const int column =
            turn * kTurnColumns + tile * static_cast<int>(kTileColumns) + lane % 4 * 2;
        const unsigned b0 = load_two(row, column, p.columns);
        const unsigned b1 = load_two(row, column + 8, p.columns);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          __nv_bfloat162 q[4];
          TileWord<Bits>::values(tiles.words[tile] + i * TileWord<Bits>::kWords, q);
          const unsigned a[4] = {as_bits(q[0]), as_bits(q[1]), as_bits(q[2]), as_bits(q[3])};
          multiply_add(part[i], a, b0, b1);
        }
      }
      add_group(group_scales, part, sums);
    }
  }
}

// Sums of all warps: [64 rows][8 pairs].
using StripSums = float[kStrip][kRows];

__device__ void add_warps(const float (&sums)[4][4], StripSums* warps) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int c = 0; c < 4; ++c)
      warps[warp][i * 16 + c / 2 * 8 + lane / 4][lane % 4 * 2 + c % 2] = sums[i][c];
  }
  __syncthreads();
  const int count = static_cast<int>(blockDim.x) / kWarp;
  for (int at = static_cast<int>(threadIdx.x); at < kStrip * kRows;
       at += static_cast<int>(blockDim.x)) {
    float sum = 0;
    for (int w = 0; w < count; ++w) sum += warps[w][at / kRows][at % kRows];
    warps[0][at / kRows][at % kRows] = sum;
  }
  __syncthreads();
}

__device__ void write_gated(const TileVector& p, const PairList& list, const StripSums& sums) {
  const int strip = static_cast<int>(blockIdx.x);
  for (int at = static_cast<int>(threadIdx.x); at < list.count * (kStrip / 2);
       at += static_cast<int>(blockDim.x)) {
    const int n = at / (kStrip / 2);
    const int r = at % (kStrip / 2);
    const int gate = r / 8 * 16 + r % 8;
    const float product = silu(sums[gate][n]) * sums[gate + 8][n];
    static_cast<__nv_bfloat16*>(p.out)[list.pairs[n] * p.out_stride + strip * (kStrip / 2) + r] =
        __float2bfloat16_rn(product);
  }
}

__device__ void write_sums(const TileVector& p, const PairList& list, const StripSums& sums) {
  const int head_strips = p.weight.strips / p.heads;
  const int head = static_cast<int>(blockIdx.x) / head_strips;
  const int strip = static_cast<int>(blockIdx.x) % head_strips;
  for (int at = static_cast<int>(threadIdx.x); at < list.count * kStrip;
       at += static_cast<int>(blockDim.x)) {
    const int pair = list.pairs[at / kStrip];
    const int row = strip * kStrip + at % kStrip;
    if (row >= p.rows) continue;
    const float scale = p.scale != nullptr && p.total == nullptr ? p.scale[pair] : 1.0f;
    const float bias = p.bias != nullptr ? p.bias[row] : 0.0f;
    const long long to = (static_cast<long long>(pair) * p.heads + head) * p.out_stride + row;
    static_cast<float*>(p.out)[to] = scale * sums[at % kStrip][at / kStrip] + bias;
  }
}

// The last block of a strip to arrive adds the pairs of every row up, in the order of the pairs
// whichever block it is.
__device__ void write_totals(const TileVector& p) {
  __shared__ bool last;
  __threadfence();
  __syncthreads();
  const int strip = static_cast<int>(blockIdx.x);
  const int leaders = leaders_of(p);
  if (threadIdx.x == 0) last = atomicAdd(&p.arrived[strip], 1) == leaders - 1;
  __syncthreads();
  if (!last) return;
  __threadfence();
  const auto* values = static_cast<const float*>(p.out);
  for (int at = static_cast<int>(threadIdx.x); at < p.pairs / p.top_k * kStrip;
       at += static_cast<int>(blockDim.x)) {
    const int token = at / kStrip;
    const int row = strip * kStrip + at % kStrip;
    if (row >= p.rows) continue;
    float total = 0;
    for (int j = 0; j < p.top_k; ++j) {
      const int pair = token * p.top_k + j;
      total += p.scale[pair] * __ldcg(values + pair * p.out_stride + row);
    }
    p.total[token * p.total_stride + row] = total;
  }
}

template <int Bits, class X, TileOutput Output>
__global__ void __launch_bounds__(kMaxWarps* kWarp, 2)
    tile_vector_kernel(const __grid_constant__ TileVector p) {
  __shared__ PairList list;
  __shared__ StripSums warps[kMaxWarps];
  if (blockIdx.x == 0 && blockIdx.y == 0) {
    for (int i = static_cast<int>(threadIdx.x); i < p.clear_count; i += blockDim.x) p.clear[i] = 0;
  }
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  if (threadIdx.x < kWarp) find_pairs(p, static_cast<int>(blockIdx.y), lane, list);
  __syncthreads();
  if (list.count == 0) return;

  const std::byte* expert = p.weight.table != nullptr
                                ? p.weight.table[list.expert]
                                : p.weight.base + list.expert * p.weight.expert_bytes;
  const auto strip = static_cast<std::size_t>(blockIdx.x);
  const auto columns = static_cast<std::size_t>(p.weight.k_tiles) * kTileColumns;
  const std::byte* tiles = expert + p.weight.tiles + strip * (columns * kStrip * Bits / 8);
  const std::byte* scales =
      expert + p.weight.scales + strip * (columns / p.weight.group * (kStrip * 2));
  const X* row = nullptr;
  if (lane / 4 < list.count) {
    const int head = static_cast<int>(blockIdx.x) / (p.weight.strips / p.heads);
    const long long index =
        static_cast<long long>(list.pairs[lane / 4] / p.pairs_a_row) * p.heads + head;
    row = static_cast<const X*>(p.x) + index * p.x_stride;
  }
  float sums[4][4] = {};
  if (p.weight.group == 128) {
    multiply_turns<Bits, 128>(p, tiles, scales, row, sums);
  } else if (p.weight.group == 64) {
    multiply_turns<Bits, 64>(p, tiles, scales, row, sums);
  } else {
    multiply_turns<Bits, 32>(p, tiles, scales, row, sums);
  }
  add_warps(sums, warps);
  if constexpr (Output == TileOutput::Gated) {
    write_gated(p, list, warps[0]);
  } else {
    write_sums(p, list, warps[0]);
    if (p.total != nullptr) write_totals(p);
  }
}

template <int Bits, class X>
void start(const TileVector& p, TileOutput output, const Launch& launch) {
  const int warps = std::min(kMaxWarps, p.weight.k_tiles / kTurnTiles);
  const int lists = p.ids != nullptr ? p.pairs : (p.pairs + kRows - 1) / kRows;
  const dim3 grid(static_cast<unsigned>(p.weight.strips), static_cast<unsigned>(lists));
  if (output == TileOutput::Gated) {
    tile_vector_kernel<Bits, X, TileOutput::Gated><<<grid, warps * kWarp, 0, launch.stream>>>(p);
  } else {
    tile_vector_kernel<Bits, X, TileOutput::Sums><<<grid, warps * kWarp, 0, launch.stream>>>(p);
  }
  check_launch("tile_vector");
}

}  // namespace

void tile_vector(const TileVector& p, TileOutput output, const Launch& launch) {
  ensure(output != TileOutput::Pairs, "tile_vector: no output by pairs");
  if (p.pairs == 0) return;
  if (p.weight.bits == 4) {
    p.x_is_bf16 ? start<4, __nv_bfloat16>(p, output, launch) : start<4, float>(p, output, launch);
  } else {
    p.x_is_bf16 ? start<8, __nv_bfloat16>(p, output, launch) : start<8, float>(p, output, launch);
  }
}

}  // namespace krasis::cuda
