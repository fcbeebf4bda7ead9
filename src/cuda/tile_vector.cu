// The product for few rows. A block owns a strip of one expert; its warps take the strip's columns
// in turns of 128, each lane reads its part of a k-tile straight into registers, and the warps'
// sums are added in shared memory. Where strips are few, a cluster of blocks shares a strip's
// columns, and the first adds the others' sums. Up to eight rows of x are the columns of one
// tensor-core instruction, so that they cost no more than one. A k-tile's registers are filled
// again as soon as they have been used, so that a warp always has some 4 KB on their way; what
// comes after them is fetched into the L2 cache while the kernel waits for its x.
#include <algorithm>

#include "base/error.h"
#include "cuda/block_cluster.cuh"
#include "cuda/early_start.cuh"
#include "cuda/runtime.h"
#include "cuda/staged_rows.cuh"
#include "cuda/tile_fragments.cuh"
#include "cuda/tile_gemm.h"

namespace krasis::cuda {
namespace {

constexpr int kRows = 8;  // of x: the columns of an mma
constexpr int kTurnColumns = 128;
constexpr int kTurnTiles = kTurnColumns / kTileColumns;
constexpr int kMaxWarps = 8;    // half of what the registers of a multiprocessor are enough for
constexpr int kMaxCluster = 8;  // blocks
constexpr int kLeastWarps = 4;  // of a cluster's blocks
constexpr int kStrip = static_cast<int>(kStripRows);

// The pairs that this block works for: those of ids[pair] from `pair` on, when it is the first, the
// ninth, ... of its expert; none otherwise. A warp.
struct PairList {
  int pairs[kRows];
  int count;
};

__device__ void find_pairs(const TileVector& p, int pair, int lane, PairList& list) {
  if (p.ids == nullptr) {
    if (lane < kRows) list.pairs[lane] = pair * kRows + lane;
    if (lane == 0) list.count = min(kRows, p.pairs - pair * kRows);
    return;
  }
  const int expert = p.ids[pair];
  int before = 0;
  int found = 0;
#pragma unroll 1
  for (int start = 0; start < p.pairs; start += kWarp) {
    const int other = start + lane;
    const bool same = other < p.pairs && p.ids[other] == expert;
    before += __popc(__ballot_sync(0xFFFFFFFFu, same && other < pair));
    const unsigned later = __ballot_sync(0xFFFFFFFFu, same && other >= pair);
    const int place = found + __popc(later & ((1u << lane) - 1));
    if (same && other >= pair && place < kRows) list.pairs[place] = other;
    found += __popc(later);
  }
  if (lane == 0) list.count = before % kRows == 0 ? min(found, kRows) : 0;
}

// Two neighbouring elements as BF16.
__device__ inline unsigned rounded(const float* x) {
  const float2 two = *reinterpret_cast<const float2*>(x);
  return pack_bf16(two.x, two.y);
}
__device__ inline unsigned rounded(const __nv_bfloat16* x) {
  return *reinterpret_cast<const unsigned*>(x);
}

template <class X>
using Rows8 = StagedRowsOf<X, sizeof(X) == 4 ? 32 : 16, true>;

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

// One warp's share of a strip: turns first, first + step, ...
template <int Bits, int Group, class X>
class Share {
 public:
  // Starts reading weights.
  __device__ Share(const TileVector& p, const std::byte* strip, const std::byte* scales)
      : strip_(strip + lane() * (4 * Bits)),
        strip_scales_(scales + lane() / 4 * 16),
        turns_(p.weight.k_tiles / kTurnTiles),
        step_(warps()),
        turn_(first_turn()) {
#pragma unroll
    for (int t = 0; t < kRing; ++t) load_tile(t, turn_, t);
#pragma unroll
    for (int piece = 0; piece < kRing; piece += kPieceTiles)
      load_scales(scales_[piece / kPieceTiles], turn_, piece);
    if (p.fetch_ahead && lane() == 0) fetch_ahead();
  }

  // Of the strip, in all of the cluster's blocks, and this one's among them.
  __device__ static int warps() {
    return static_cast<int>(blockDim.x / kWarp * gridDim.z);
  }
  __device__ static int first_turn() {
    return static_cast<int>(blockIdx.z * (blockDim.x / kWarp) + threadIdx.x / kWarp);
  }

  __device__ void multiply(Rows8<X>& rows, float (&sums)[4][4]) {
    for (; turn_ < turns_; turn_ += step_) {
      const X* x = reinterpret_cast<const X*>(rows.take() + lane() / 4 * Rows8<X>::kRowBytes) +
                   lane() % 4 * 2;
      // Rolled up as far as the ring allows: where each instruction is executed once or twice,
      // fetching it costs more than it does.
#pragma unroll 1
      for (int first = 0; first < kTurnTiles; first += kRing) {
        const bool last = first + kRing == kTurnTiles;
        const int next_turn = last ? turn_ + step_ : turn_;
        const int next_first = last ? 0 : first + kRing;
#pragma unroll
        for (int piece = 0; piece < kRing; piece += kPieceTiles) {
          float part[4][4] = {};
#pragma unroll
          for (int t = piece; t < piece + kPieceTiles; ++t) {
            const X* const columns = x + (first + t) * kTileColumns;
            multiply_tile(t, rounded(columns), rounded(columns + 8), part);
            load_tile(t, next_turn, next_first + t);
          }
          uint4& scales = scales_[piece / kPieceTiles];
          add_group(scales, part, sums);
          load_scales(scales, next_turn, next_first + piece);
        }
      }
      rows.give_back();
    }
  }

 private:
  static constexpr int kRing = 32 / Bits;  // k-tiles in registers: 4 KB a warp
  static constexpr int kTileBytes = kWarp * 4 * Bits;
  static constexpr int kGroupTiles = Group / static_cast<int>(kTileColumns);
  static constexpr int kPieceTiles = kGroupTiles < kRing ? kGroupTiles : kRing;  // of one group

  __device__ static int lane() {
    return static_cast<int>(threadIdx.x) % kWarp;
  }

  // What is not in registers yet.
  __device__ void fetch_ahead() const {
    constexpr int kTurnBytes = kTurnTiles * kTileBytes;
    constexpr int kLoaded = kRing * kTileBytes;
    int from = kLoaded;
    for (int turn = turn_; turn < turns_; turn += step_, from = 0) {
      if (from < kTurnBytes)
        prefetch_to_l2(strip_ + static_cast<std::size_t>(turn) * kTurnBytes + from,
                       static_cast<unsigned>(kTurnBytes - from));
    }
  }

  __device__ void load_tile(int slot, int turn, int tile) {
    if (turn >= turns_) return;
    const std::byte* from =
        strip_ + (static_cast<std::size_t>(turn) * kTurnTiles + tile) * kTileBytes;
#pragma unroll
    for (int i = 0; i < Bits; i += 4) {
      const uint4 v = load_stream(from + i * 4);
      words_[slot][i] = v.x, words_[slot][i + 1] = v.y;
      words_[slot][i + 2] = v.z, words_[slot][i + 3] = v.w;
    }
  }
  __device__ void load_scales(uint4& scales, int turn, int tile) {
    if (turn >= turns_) return;
    const int group = (turn * kTurnTiles + tile) / kGroupTiles;
    scales = load_stream(strip_scales_ + static_cast<std::size_t>(group) * (kStrip * 2));
  }
  __device__ void multiply_tile(int tile, unsigned b0, unsigned b1, float (&part)[4][4]) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      __nv_bfloat162 q[4];
      TileWord<Bits>::values(words_[tile] + i * TileWord<Bits>::kWords, q);
      const unsigned a[4] = {as_bits(q[0]), as_bits(q[1]), as_bits(q[2]), as_bits(q[3])};
      multiply_add(part[i], a, b0, b1);
    }
  }

  const std::byte* strip_;
  const std::byte* strip_scales_;
  int turns_, step_, turn_;
  unsigned words_[kRing][Bits];
  uint4 scales_[kRing / kPieceTiles];
};

// [64 rows][8 pairs]
using StripSums = float[kStrip][kRows];

// Into the first warp's memory; each has `warp_bytes`.
__device__ StripSums& add_warps(const float (&sums)[4][4], int pairs, std::byte* shared,
                                int warp_bytes) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const auto of_warp = [&](int warp) -> StripSums& {
    return *reinterpret_cast<StripSums*>(shared + warp * warp_bytes);
  };
  copy_async_wait<0>();
  __syncwarp();
  StripSums& own = of_warp(static_cast<int>(threadIdx.x) / kWarp);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int c = 0; c < 4; ++c)
      own[i * 16 + c / 2 * 8 + lane / 4][lane % 4 * 2 + c % 2] = sums[i][c];
  }
  __syncthreads();
  StripSums& all = of_warp(0);
  const int count = static_cast<int>(blockDim.x) / kWarp;
#pragma unroll 1
  for (int at = static_cast<int>(threadIdx.x); at < kStrip * pairs;
       at += static_cast<int>(blockDim.x)) {
    float sum = 0;
#pragma unroll
    for (int w = 0; w < kMaxWarps; ++w)
      if (w < count) sum += of_warp(w)[at % kStrip][at / kStrip];
    all[at % kStrip][at / kStrip] = sum;
  }
  __syncthreads();
  return all;
}

// Adds the other blocks' sums of the strip to the first one's. False: this one has no more to do.
__device__ bool add_blocks(StripSums& sums, int pairs) {
  if (gridDim.z == 1) return true;
  cluster_barrier();
  if (blockIdx.z == 0) {
#pragma unroll 1
    for (int at = static_cast<int>(threadIdx.x); at < kStrip * pairs;
         at += static_cast<int>(blockDim.x)) {
      float& sum = sums[at % kStrip][at / kStrip];
#pragma unroll 1
      for (unsigned block = 1; block < gridDim.z; ++block) sum += load_of_block(&sum, block);
    }
  }
  cluster_barrier();  // nobody's memory goes while it is read
  return blockIdx.z == 0;
}

__device__ void write_gated(const TileVector& p, const PairList& list, const StripSums& sums) {
  const int strip = static_cast<int>(blockIdx.x);
#pragma unroll 1
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

// A division takes as long as several loads.
__device__ int head_of(const TileVector& p) {
  return p.heads == 1 ? 0 : static_cast<int>(blockIdx.x) / (p.weight.strips / p.heads);
}
__device__ int row_of(const TileVector& p, int pair) {
  return p.pairs_a_row == 1 ? pair : pair / p.pairs_a_row;
}

__device__ void write_sums(const TileVector& p, const PairList& list, const StripSums& sums) {
  const int head = head_of(p);
  const int strip = static_cast<int>(blockIdx.x) - head * (p.weight.strips / p.heads);
#pragma unroll 1
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

// The last of a strip's blocks to arrive, each with its pairs, adds those of every row up: in their
// order, whichever block it is.
__device__ void write_totals(const TileVector& p, int count) {
  __shared__ bool last;
  __threadfence();
  __syncthreads();
  const int strip = static_cast<int>(blockIdx.x);
  if (threadIdx.x == 0) last = atomicAdd(&p.arrived[strip], count) + count == p.pairs;
  __syncthreads();
  if (!last) return;
  __threadfence();
  const auto* values = static_cast<const float*>(p.out);
#pragma unroll 1
  for (int at = static_cast<int>(threadIdx.x); at < p.pairs / p.top_k * kStrip;
       at += static_cast<int>(blockDim.x)) {
    const int token = at / kStrip;
    const int row = strip * kStrip + at % kStrip;
    if (row >= p.rows) continue;
    const int first = token * p.top_k;
    const float* value = values + first * p.out_stride + row;
    float total = 0;
#pragma unroll 4
    for (int pair = first; pair < first + p.top_k; ++pair, value += p.out_stride) {
      if (p.ids[pair] < 0) continue;  // nobody wrote its value
      total += p.scale[pair] * __ldcg(value);
    }
    p.total[token * p.total_stride + row] = total;
  }
}

// For a later call; a block.
__device__ void clear(const TileVector& p) {
  if (blockIdx.x != 0 || blockIdx.y != 0 || blockIdx.z != 0) return;
#pragma unroll 1
  for (int i = static_cast<int>(threadIdx.x); i < p.clear_count; i += blockDim.x) p.clear[i] = 0;
}

// What is left to do for a pair without an expert; a block.
template <TileOutput Output>
__device__ void leave_out(const TileVector& p) {
  wait_for_earlier();
  if (blockIdx.z != 0) return;
  clear(p);
  if constexpr (Output == TileOutput::Sums) {
    if (p.total != nullptr) return write_totals(p, 1);
    const int row = static_cast<int>(blockIdx.x) * kStrip + static_cast<int>(threadIdx.x);
    float* const out = static_cast<float*>(p.out) + blockIdx.y * p.out_stride;
#pragma unroll 1
    for (int r = row; r < min(p.rows, (static_cast<int>(blockIdx.x) + 1) * kStrip); r += blockDim.x)
      out[r] = 0;
  }
}

template <int Bits, int Group, class X, TileOutput Output>
__global__ void __launch_bounds__(kMaxWarps* kWarp, 2)
    tile_vector_kernel(const __grid_constant__ TileVector p) {
  __shared__ PairList list;
  __shared__ const X* rows[kRows];
  extern __shared__ __align__(16) std::byte shared[];
  // What starts then may read the ids at once.
  if (p.ids != nullptr && !p.ids_are_old) wait_for_earlier();
  let_later_start();
  const int expert = p.ids != nullptr ? p.ids[blockIdx.y] : 0;
  if (expert < 0) return leave_out<Output>(p);
  const std::byte* base = p.weight.table != nullptr
                              ? p.weight.table[expert]
                              : p.weight.base + expert * p.weight.expert_bytes;
  const auto strip = static_cast<std::size_t>(blockIdx.x);
  const auto columns = static_cast<std::size_t>(p.weight.k_tiles) * kTileColumns;
  Share<Bits, Group, X> share(p, base + p.weight.tiles + strip * (columns * kStrip * Bits / 8),
                              base + p.weight.scales + strip * (columns / Group * (kStrip * 2)));

  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  if (threadIdx.x < kWarp) {
    find_pairs(p, static_cast<int>(blockIdx.y), lane, list);
    __syncwarp();
    if (lane < list.count) {
      const long long row =
          static_cast<long long>(row_of(p, list.pairs[lane])) * p.heads + head_of(p);
      rows[lane] = static_cast<const X*>(p.x) + row * p.x_stride;
    }
  }
  __syncthreads();
  if (list.count == 0) return;
  wait_for_earlier();
  clear(p);
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  constexpr int kWarpBytes = Rows8<X>::kWarpBytes;
  Rows8<X> staged(shared + warp * kWarpBytes, rows, list.count, p.columns,
                  static_cast<long long>(share.first_turn()) * kTurnColumns,
                  static_cast<long long>(share.warps()) * kTurnColumns);
  float sums[4][4] = {};
  share.multiply(staged, sums);
  StripSums& all = add_warps(sums, list.count, shared, kWarpBytes);
  if (!add_blocks(all, list.count)) return;
  if constexpr (Output == TileOutput::Gated) {
    write_gated(p, list, all);
  } else {
    write_sums(p, list, all);
    if (p.total != nullptr) write_totals(p, list.count);
  }
}

// How a product is divided between blocks.
struct Shares {
  int blocks;  // of a strip and a list of pairs, in a cluster
  int warps;   // of a block

  // Few strips are shared between blocks until these are about as many as multiprocessors, of which
  // they take half, so that another lane's kernel finds room. Where there are more strips than
  // multiprocessors anyway, small blocks divide better.
  Shares(const DeviceProperties& device, int strips, int turns, int fitting_warps) : blocks(1) {
    if (device.capability >= 90) {
      while (blocks < kMaxCluster && 2 * blocks * strips <= device.multiprocessors &&
             turns >= 2 * blocks * kLeastWarps)
        blocks *= 2;
    }
    const int blocks_each = (strips + device.multiprocessors - 1) / device.multiprocessors;
    const int most_warps =
        std::min({fitting_warps, kMaxWarps, 2 * kMaxWarps / std::min(blocks_each, 4)});
    const int of_block = (turns + blocks - 1) / blocks;
    const int rounds = (of_block + most_warps - 1) / most_warps;
    warps = (of_block + rounds - 1) / rounds;
  }
};

// True: all that the kernel reads stays in the L2 cache until it is used, together with what the
// other lane reads. Memory that is not the device's own is not cached there.
bool fits_ahead(const TileVector& p, const DeviceProperties& device) {
  const auto strip_bytes = static_cast<std::size_t>(p.weight.k_tiles) * kTileColumns * kStrip *
                           static_cast<std::size_t>(p.weight.bits) / 8;
  const auto matrices = static_cast<std::size_t>(p.ids != nullptr ? p.pairs : 1);
  return p.weight.table == nullptr &&
         matrices * static_cast<std::size_t>(p.weight.strips) * strip_bytes <= device.l2_bytes / 2;
}

template <int Bits, int Group, class X>
void start(const TileVector& p, TileOutput output, const Launch& launch) {
  const int lists = p.ids != nullptr ? p.pairs : (p.pairs + kRows - 1) / kRows;
  const Shares shares(launch.device, p.weight.strips * lists, p.weight.k_tiles / kTurnTiles,
                      static_cast<int>(launch.device.shared_bytes) / Rows8<X>::kWarpBytes);
  const Grid grid{
      .blocks = dim3(static_cast<unsigned>(p.weight.strips), static_cast<unsigned>(lists),
                     static_cast<unsigned>(shares.blocks)),
      .threads = dim3(static_cast<unsigned>(shares.warps * kWarp)),
      .shared_bytes = static_cast<std::size_t>(shares.warps) * Rows8<X>::kWarpBytes,
      .cluster = static_cast<unsigned>(shares.blocks)};
  const auto kernel = output == TileOutput::Gated
                          ? tile_vector_kernel<Bits, Group, X, TileOutput::Gated>
                          : tile_vector_kernel<Bits, Group, X, TileOutput::Sums>;
  TileVector with = p;
  with.fetch_ahead = fits_ahead(p, launch.device);
  start_early(kernel, grid, launch, with);
}

template <int Bits, class X>
void start(const TileVector& p, TileOutput output, const Launch& launch) {
  if (p.weight.group == 128) return start<Bits, 128, X>(p, output, launch);
  if (p.weight.group == 64) return start<Bits, 64, X>(p, output, launch);
  start<Bits, 32, X>(p, output, launch);
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
