// Attention of many rows on Hopper, keys of 128 + 64 numbers and values of 128, every head its own.
// One warp group has the copy engine fill shared memory; each of two others owns 64 rows. While
// one's tensor cores multiply values and score the next keys, the other computes weights (Shah et
// al. 2024, https://arxiv.org/abs/2407.08608, algorithm 2 and section 3.1).
#include <cuda.h>

#include "base/error.h"
#include "cuda/attention_expanded.h"
#include "cuda/attention_parts.cuh"
#include "cuda/runtime.h"
#include "cuda/shared_barrier.cuh"
#include "cuda/shared_products.cuh"

namespace krasis::cuda {
namespace {

constexpr int kRows = 128;
constexpr int kKeys = 128;  // of a tile
constexpr int kGroupThreads = 128;
constexpr int kGroupRows = 64;
constexpr int kThreads = 3 * kGroupThreads;
constexpr int kStages = 2;
constexpr int kPanelColumns = 64;
constexpr unsigned kPanel = 128 * 128;  // bytes: rows and keys are as many
constexpr unsigned kKeyPanels = 3;      // two of W_UK c, one of k_rope
constexpr unsigned kValuePanels = 2;
constexpr unsigned kPanels = kKeyPanels + kStages * (kKeyPanels + kValuePanels);
constexpr unsigned kBarrierBytes = 8;
constexpr std::size_t kSharedBytes = kPanels * kPanel + 4 * kStages * kBarrierBytes;
static_assert(kExpandedTile == kRows && kExpandedTile == kKeys);
static_assert(kExpandedNope == 2 * kPanelColumns && kExpandedRope == kPanelColumns &&
              kExpandedValue == kValuePanels * kPanelColumns);

struct Arguments {
  CUtensorMap keys, ropes, values;
  const float* queries;  // from here on of the segment's first row
  const float* rotated;
  float* out;
  float2* limits;
  long long query_stride, rotated_stride, out_stride;
  int heads, rows, past;
  int first, tokens;
  float scale;  // times log2(e)
};

// One panel of 64 columns, beginning at (column, token[, head]).
__device__ void fill(unsigned to, const CUtensorMap& from, unsigned barrier, int column, int token,
                     int head) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3, %4}], [%5];\n" ::"r"(to),
      "l"(&from), "r"(column), "r"(token), "r"(head), "r"(barrier)
      : "memory");
}

// Where things are in shared memory.
struct Places {
  unsigned base;
  __device__ unsigned queries() const { return base; }
  __device__ unsigned keys(int tile) const {
    return base + (kKeyPanels + stage(tile) * kKeyPanels) * kPanel;
  }
  __device__ unsigned values(int tile) const {
    return base + (kKeyPanels * (1 + kStages) + stage(tile) * kValuePanels) * kPanel;
  }
  __device__ unsigned keys_full(int tile) const { return barrier(0, tile); }
  __device__ unsigned keys_free(int tile) const { return barrier(1, tile); }
  __device__ unsigned values_full(int tile) const { return barrier(2, tile); }
  __device__ unsigned values_free(int tile) const { return barrier(3, tile); }
  // Of the tile's turn at its stage.
  __device__ static unsigned parity(int tile) { return static_cast<unsigned>(tile / kStages % 2); }

 private:
  __device__ static unsigned stage(int tile) { return static_cast<unsigned>(tile % kStages); }
  __device__ unsigned barrier(unsigned kind, int tile) const {
    return base + kPanels * kPanel + (kind * kStages + stage(tile)) * kBarrierBytes;
  }
};

// A thread block's work: kRows rows of a head, the last ones first, since they have the most keys.
struct Work {
  int head, first_row;
  int tiles;  // of keys
};

__device__ Work find_work(const Arguments& a) {
  Work work;
  work.head = static_cast<int>(blockIdx.y);
  work.first_row = static_cast<int>(gridDim.x - 1 - blockIdx.x) * kRows;
  const int last = min(work.first_row + kRows, a.rows) - 1;
  const int seen = min(a.past + last + 1 - a.first, a.tokens);
  work.tiles = seen <= 0 ? 0 : (seen + kKeys - 1) / kKeys;
  return work;
}

// By one thread.
__device__ void fill_all(const Arguments& a, const Work& work, const Places& places) {
  for (int j = 0; j < work.tiles; ++j) {
    const int token = j * kKeys;
    wait_at(places.keys_free(j), Places::parity(j) ^ 1);
    const unsigned keys_full = places.keys_full(j);
    arrive_expecting(keys_full, kKeyPanels * kPanel);
    fill(places.keys(j), a.keys, keys_full, 0, token, work.head);
    fill(places.keys(j) + kPanel, a.keys, keys_full, kPanelColumns, token, work.head);
    fill(places.keys(j) + 2 * kPanel, a.ropes, keys_full, 0, token, 0);
    wait_at(places.values_free(j), Places::parity(j) ^ 1);
    const unsigned values_full = places.values_full(j);
    arrive_expecting(values_full, kValuePanels * kPanel);
    fill(places.values(j), a.values, values_full, 0, token, work.head);
    fill(places.values(j) + kPanel, a.values, values_full, kPanelColumns, token, work.head);
  }
}

// A group of warps that owns kGroupRows rows.
struct Owner {
  const Arguments& a;
  Work work;
  Places places;
  int group;  // 0 or 1
  int lane;
  int row;       // of the segment: this lane's first; the other is 8 on
  int position;  // of that row among the block's tokens
  RowState state[2] = {};
};
using Tile = float[16][4];                // 64 rows, 128 columns
using Weights = unsigned[kKeys / 16][4];  // as multiply_add's a

// Queries times the scale, as BF16 in shared memory.
__device__ void load_queries(const Owner& owner) {
  const Arguments& a = owner.a;
  constexpr int kNopeChunks = static_cast<int>(kExpandedNope) / kChunk;
  constexpr int kChunks = kNopeChunks + static_cast<int>(kExpandedRope) / kChunk;
  for (int i = static_cast<int>(threadIdx.x) % kGroupThreads; i < kGroupRows * kChunks;
       i += kGroupThreads) {
    const int row = owner.group * kGroupRows + i / kChunks;  // of the thread block
    const int chunk = i % kChunks;
    uint4 packed{};
    if (owner.work.first_row + row < a.rows) {
      const long long query =
          static_cast<long long>(owner.work.first_row + row) * a.heads + owner.work.head;
      const float* const from =
          chunk < kNopeChunks
              ? a.queries + query * a.query_stride + chunk * kChunk
              : a.rotated + query * a.rotated_stride + (chunk - kNopeChunks) * kChunk;
      const float4 low = reinterpret_cast<const float4*>(from)[0];
      const float4 high = reinterpret_cast<const float4*>(from)[1];
      packed = {pack_bf16(low.x * a.scale, low.y * a.scale),
                pack_bf16(low.z * a.scale, low.w * a.scale),
                pack_bf16(high.x * a.scale, high.y * a.scale),
                pack_bf16(high.z * a.scale, high.w * a.scale)};
    }
    const unsigned place = owner.places.queries() + static_cast<unsigned>(chunk / 8) * kPanel +
                           static_cast<unsigned>(row * 128 + (chunk ^ row) % 8 * 16);
    asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};\n" ::"r"(place), "r"(packed.x),
                 "r"(packed.y), "r"(packed.z), "r"(packed.w)
                 : "memory");
  }
}

// Starts scores = queries keys^T.
__device__ void start_scores(const Owner& owner, Tile& scores, int j) {
  const SharedOperand queries = swizzled_operand(
      owner.places.queries() + static_cast<unsigned>(owner.group) * kGroupRows * 128);
  const SharedOperand keys = swizzled_operand(owner.places.keys(j));
#pragma unroll
  for (unsigned k = 0; k < kKeyPanels * 4; ++k) {
    const unsigned at = k / 4 * kPanel + k % 4 * 32;
    multiply_rows(scores, further(queries, at), further(keys, at), k != 0);
  }
  group_commit();
}

// Starts out += weights values.
__device__ void start_values(const Owner& owner, Tile& out, const Weights& weights, int j) {
  const SharedOperand values = across_panels(swizzled_operand(owner.places.values(j)), kPanel);
#pragma unroll
  for (unsigned k = 0; k < kKeys / 16; ++k)
    multiply_columns(out, weights[k], further(values, k * 16 * 128));
  group_commit();
}

// Takes out the keys after each row's own position.
__device__ void mask(const Owner& owner, Tile& scores, int j) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int last = owner.position + r * 8 - j * kKeys - owner.lane % 4 * 2;
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n) {
      if (n * 8 > last) scores[n][2 * r] = kNoScore;
      if (n * 8 + 1 > last) scores[n][2 * r + 1] = kNoScore;
    }
  }
}

// Turns scores into weights; factors are what the sums so far are to be multiplied by.
__device__ void weigh(Owner& owner, Tile& scores, float (&factors)[2]) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float largest = kNoScore;
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n)
      largest = fmaxf(largest, fmaxf(scores[n][2 * r], scores[n][2 * r + 1]));
    RowState& state = owner.state[r];
    factors[r] = state.raise(largest_of_four(largest));
    const float base = state.base();
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n) {
      scores[n][2 * r] = power_of_two(scores[n][2 * r] - base);
      scores[n][2 * r + 1] = power_of_two(scores[n][2 * r + 1] - base);
      state.sum += scores[n][2 * r] + scores[n][2 * r + 1];
    }
  }
}

__device__ void pack(const Tile& scores, Weights& weights) {
#pragma unroll
  for (int k = 0; k < kKeys / 16; ++k) {
#pragma unroll
    for (int i = 0; i < 4; ++i)
      weights[k][i] =
          pack_bf16(scores[2 * k + i / 2][i % 2 * 2], scores[2 * k + i / 2][i % 2 * 2 + 1]);
  }
}

// Masks and weighs the scores of tile j; its keys are done with.
__device__ void use_scores(Owner& owner, Tile& scores, int j, float (&factors)[2]) {
  if (owner.lane == 0) arrive_at(owner.places.keys_free(j));
  const int first_position = owner.position - owner.lane / 4;  // of the warp's first row
  if ((j + 1) * kKeys > first_position + 1) mask(owner, scores, j);
  weigh(owner, scores, factors);
}

// The row's results, with those of earlier blocks.
__device__ void write(const Owner& owner, const Tile& out, int r) {
  const Arguments& a = owner.a;
  RowState state = owner.state[r];
  state.sum = sum_of_four(state.sum);
  const int row = owner.row + r * 8;
  if (row >= a.rows) return;
  const long long index = static_cast<long long>(row) * a.heads + owner.work.head;
  float2* const to = reinterpret_cast<float2*>(a.out + index * a.out_stride) + owner.lane % 4;
  float kept = 0;  // of what earlier blocks left
  float factor = 1;
  if (a.first > 0) {
    const float2 before = a.limits[index];
    const float largest = fmaxf(state.largest, before.x);
    factor = power_of_two(state.largest - largest);
    kept = power_of_two(before.x - largest) * before.y;
    state = {largest, state.sum * factor + kept};
  }
  factor /= state.sum;
  kept /= state.sum;
#pragma unroll
  for (int n = 0; n < 16; ++n) {
    float2 values = {out[n][2 * r] * factor, out[n][2 * r + 1] * factor};
    if (a.first > 0) {
      const float2 before = to[n * 4];
      values = {before.x * kept + values.x, before.y * kept + values.y};
    }
    to[n * 4] = values;
  }
  if (a.limits == nullptr) return;
  __syncwarp(__activemask());  // all lanes of the row have read
  if (owner.lane % 4 == 0) a.limits[index] = {state.largest, state.sum};
}

__device__ void attend(Owner& owner) {
  constexpr int kTurns = 1, kLoaded = 3;  // first numbers of two barriers each
  const int mine = kTurns + owner.group, other = kTurns + 1 - owner.group;
  const int last = owner.work.tiles - 1;
  load_queries(owner);
  publish_shared();
  wait_at_named(kLoaded + owner.group, kGroupThreads);
  if (owner.group == 1 && last > 0) arrive_at_named(other, 2 * kGroupThreads);

  Tile scores, out = {};
  Weights weights;
  float factors[2];
  wait_at(owner.places.keys_full(0), 0);
  hold(scores);
  group_fence();
  start_scores(owner, scores, 0);
  group_wait<0>();
  hold(scores);
  use_scores(owner, scores, 0, factors);  // there are no sums yet
  pack(scores, weights);
  for (int j = 0; j < last; ++j) {
    wait_at(owner.places.keys_full(j + 1), Places::parity(j + 1));
    wait_at_named(mine, 2 * kGroupThreads);
    hold(scores);
    hold(out);
    group_fence();
    start_scores(owner, scores, j + 1);
    wait_at(owner.places.values_full(j), Places::parity(j));
    start_values(owner, out, weights, j);
    if (owner.group == 0 || j + 1 < last) arrive_at_named(other, 2 * kGroupThreads);
    group_wait<1>();
    hold(scores);
    use_scores(owner, scores, j + 1, factors);
    group_wait<0>();
    hold(out);
    if (owner.lane == 0) arrive_at(owner.places.values_free(j));
    if (scale_is_needed(factors)) scale_rows(out, factors);
    pack(scores, weights);
  }
  wait_at(owner.places.values_full(last), Places::parity(last));
  hold(out);
  group_fence();
  start_values(owner, out, weights, last);
  group_wait<0>();
  hold(out);
  write(owner, out, 0);
  write(owner, out, 1);
}

__global__ void __launch_bounds__(kThreads, 1) expanded_rows(const __grid_constant__ Arguments a) {
  extern __shared__ __align__(1024) Bits16 shared[];
  const Work work = find_work(a);
  if (work.tiles == 0) return;
  const Places places{shared_address(shared)};
  if (threadIdx.x == 0) {
    constexpr int kOwnerWarps = 2 * kGroupThreads / kWarp;
    for (int stage = 0; stage < kStages; ++stage) {
      init_barrier(places.keys_full(stage), 1);
      init_barrier(places.keys_free(stage), kOwnerWarps);
      init_barrier(places.values_full(stage), 1);
      init_barrier(places.values_free(stage), kOwnerWarps);
    }
    publish_barriers();
  }
  __syncthreads();
  if (warp_group() == 0) {
    give_registers<24>();
    if (threadIdx.x == 0) fill_all(a, work, places);
    return;
  }
  take_registers<240>();
  const auto thread = static_cast<int>(threadIdx.x);
  const int group = static_cast<int>(warp_group()) - 1;
  const int row = work.first_row + group * kGroupRows + thread % kGroupThreads / kWarp * 16 +
                  thread % kWarp / 4;
  Owner owner{.a = a,
              .work = work,
              .places = places,
              .group = group,
              .lane = thread % kWarp,
              .row = row,
              .position = a.past + row - a.first};
  attend(owner);
}

// Rows of columns in `pages` that follow each other page_step apart, read 64 by 128 at a time.
struct Panels {
  const void* data;
  std::int64_t columns, rows, stride;  // in numbers
  std::int64_t pages, page_step;
};

CUtensorMap map_of(const Panels& p) {
  static const auto encode = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult found{};
    check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000,
                                           cudaEnableDefault, &found),
          "asking the driver how tensors are described");
    ensure(found == cudaDriverEntryPointSuccess, "cuda: the driver describes no tensors");
    return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(function);
  }();
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(p.columns), static_cast<cuuint64_t>(p.rows),
                              static_cast<cuuint64_t>(p.pages)};
  const cuuint64_t strides[] = {static_cast<cuuint64_t>(p.stride) * 2,
                                static_cast<cuuint64_t>(p.page_step) * 2};
  const cuuint32_t box[] = {kPanelColumns, kKeys, 1};
  const cuuint32_t every[] = {1, 1, 1};
  CUtensorMap map;
  const CUresult result =
      encode(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 3, const_cast<void*>(p.data), sizes, strides,
             box, every, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  ensure(result == CUDA_SUCCESS, "cuda: a tensor that the driver cannot describe");
  return map;
}

}  // namespace

void attention_expanded_hopper(const ExpandedBlock& block, cudaStream_t stream) {
  constexpr float kLog2OfE = 1.44269504088896340736f;
  constexpr std::int64_t kLatentStride = kExpandedLatent + kExpandedRope;
  const std::int64_t tokens = block.tokens;
  const std::int64_t rows = block.queries.rows / block.heads;
  const Arguments arguments{.keys = map_of({block.keys, kExpandedNope, tokens, kExpandedNope,
                                            block.heads, tokens * kExpandedNope}),
                            .ropes = map_of({block.latents + kExpandedLatent, kExpandedRope, tokens,
                                             kLatentStride, 1, tokens * kLatentStride}),
                            .values = map_of({block.values, kExpandedValue, tokens, kExpandedValue,
                                              block.heads, tokens * kExpandedValue}),
                            .queries = block.queries.data,
                            .rotated = block.rotated.data,
                            .out = block.out.data,
                            .limits = block.limits,
                            .query_stride = block.queries.stride,
                            .rotated_stride = block.rotated.stride,
                            .out_stride = block.out.stride,
                            .heads = static_cast<int>(block.heads),
                            .rows = static_cast<int>(rows),
                            .past = static_cast<int>(block.past),
                            .first = static_cast<int>(block.first),
                            .tokens = static_cast<int>(tokens),
                            .scale = block.scale * kLog2OfE};
  check(cudaFuncSetAttribute(expanded_rows, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(kSharedBytes)),
        "asking for the shared memory of attention");
  const dim3 grid(static_cast<unsigned>((rows + kRows - 1) / kRows),
                  static_cast<unsigned>(block.heads));
  expanded_rows<<<grid, kThreads, kSharedBytes, stream>>>(arguments);
  check_launch("attention over expanded latents");
}

}  // namespace krasis::cuda
