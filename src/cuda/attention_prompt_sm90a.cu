// Attention of many rows on Hopper. Each of two warp groups owns 64 packed rows; keys and values
// come to it through shared memory, weights never leave its registers. While a tile's weights are
// computed, the tensor cores score the next tile (Shah et al. 2024,
// https://arxiv.org/abs/2407.08608, algorithm 2).
#include "cuda/attention_parts.cuh"
#include "cuda/runtime.h"
#include "cuda/shared_products.cuh"

namespace krasis::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kGroupRows = 64;
constexpr int kRows = 2 * kGroupRows;

// Sums of 64 rows fill the registers: kDim columns of results, and two tiles of kKeys scores.
// Queries that are held in registers too leave shared memory to keys and values.
template <int kDimension, int kKeysOfTile, bool kHoldsQueries>
struct HopperTile {
  static constexpr int kDim = kDimension;
  static constexpr int kKeys = kKeysOfTile;
  static constexpr bool kHeld = kHoldsQueries;
  static constexpr int kHalves = kDim / 128;  // of the results: what one product computes
  using QueryLayout = PanelLayout<kDim, kRows>;
  using KeyLayout = PanelLayout<kDim, kKeys>;
  static constexpr int kQueryNumbers = kRows * kDim;
  static constexpr int kTileNumbers = kKeys * kDim;  // of keys, and of values
  static constexpr std::size_t kSharedBytes = sizeof(Bits16) * (kQueryNumbers + 4 * kTileNumbers);
};

template <class T>
using Scores = float[T::kKeys / 8][4];

template <class T>
struct Block {
  using Reader = PageReader<T::kKeys, kThreads>;

  const AttentionArguments& a;
  const AttentionTile& tile;
  Bits16* shared;
  int lane, row;  // the row in the block of this lane's first row; the other is 8 on
  Reader reader;
  int key_row, value_row;  // of the cache, to be copied next
  unsigned queries[T::kHeld ? T::kDim / 16 : 1][4] = {};
  float out[T::kHalves][16][4] = {};
  RowState state[2] = {};

  __device__ Bits16* keys(int j) const {
    return shared + T::kQueryNumbers + j % 2 * T::kTileNumbers;
  }
  __device__ Bits16* values(int j) const { return keys(j) + 2 * T::kTileNumbers; }
  // Keys are fetched a tile earlier than values.
  __device__ void fetch_keys(int j) {
    value_row = key_row;
    key_row = reader.next();
    if (j < tile.end) Reader::template copy<typename T::KeyLayout>(a.keys, key_row, keys(j));
  }
  __device__ void fetch_values(int j) {
    if (j < tile.end) Reader::template copy<typename T::KeyLayout>(a.values, value_row, values(j));
  }
};

// Starts scores = queries keys^T.
template <class T>
__device__ void multiply_keys(const Block<T>& block, Scores<T>& scores, int j) {
  const SharedOperand a =
      swizzled_operand(shared_address(block.shared) + warp_group() * kGroupRows * 128);
  const SharedOperand b = swizzled_operand(shared_address(block.keys(j)));
#pragma unroll
  for (int k = 0; k < T::kDim / 16; ++k) {
    const auto panel = static_cast<unsigned>(k / 4);
    const unsigned at = static_cast<unsigned>(k % 4) * 32;
    const SharedOperand keys = further(b, panel * T::KeyLayout::kPanel + at);
    if constexpr (T::kHeld) {
      multiply_rows(scores, block.queries[k], keys, k != 0);
    } else {
      multiply_rows(scores, further(a, panel * T::QueryLayout::kPanel + at), keys, k != 0);
    }
  }
}

// Starts out += weights values.
template <class T>
__device__ void multiply_values(Block<T>& block, const unsigned (&weights)[T::kKeys / 16][4],
                                int j) {
  const SharedOperand b =
      across_panels(swizzled_operand(shared_address(block.values(j))), T::KeyLayout::kPanel);
#pragma unroll
  for (int k = 0; k < T::kKeys / 16; ++k) {
#pragma unroll
    for (int half = 0; half < T::kHalves; ++half) {
      const auto at = static_cast<unsigned>(k * 16 * 128 + half * 2 * T::KeyLayout::kPanel);
      multiply_columns(block.out[half], weights[k], further(b, at));
    }
  }
}

// Takes out the keys after each row's own position.
template <class T>
__device__ void mask(const Block<T>& block, Scores<T>& scores, int j) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int last = block.tile.position(block.row + r * 8) - j * T::kKeys - block.lane % 4 * 2;
#pragma unroll
    for (int n = 0; n < T::kKeys / 8; ++n) {
      if (n * 8 > last) scores[n][2 * r] = kNoScore;
      if (n * 8 + 1 > last) scores[n][2 * r + 1] = kNoScore;
    }
  }
}

// Turns scores into weights.
template <class T>
__device__ void weigh(Block<T>& block, Scores<T>& scores) {
  float factors[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float largest = kNoScore;
#pragma unroll
    for (int n = 0; n < T::kKeys / 8; ++n)
      largest = fmaxf(largest, fmaxf(scores[n][2 * r], scores[n][2 * r + 1]));
    RowState& state = block.state[r];
    factors[r] = state.raise(largest_of_four(largest));
    const float base = state.base();
#pragma unroll
    for (int n = 0; n < T::kKeys / 8; ++n) {
      scores[n][2 * r] = power_of_two(scores[n][2 * r] - base);
      scores[n][2 * r + 1] = power_of_two(scores[n][2 * r + 1] - base);
      state.sum += scores[n][2 * r] + scores[n][2 * r + 1];
    }
  }
  if (scale_is_needed(factors)) {
#pragma unroll
    for (auto& half : block.out) scale_rows(half, factors);
  }
}

// Uses tile j, whose scores are known, and leaves the scores of the next (of nothing after the
// last, which costs less than a branch around products under way).
template <class T>
__device__ void turn(Block<T>& block, Scores<T>& scores, Scores<T>& next, int j) {
  copy_async_wait<0>();
  publish_shared();
  __syncthreads();  // values j and keys j + 1 are there; keys j and values j - 1 are done with
  block.fetch_keys(j + 2);
  block.fetch_values(j + 1);
  copy_async_commit();
  group_fence();
  multiply_keys(block, next, j + 1);
  group_commit();

  if ((j + 1) * T::kKeys > block.tile.seen_by_all) mask(block, scores, j);
  weigh(block, scores);
  unsigned weights[T::kKeys / 16][4];
#pragma unroll
  for (int k = 0; k < T::kKeys / 16; ++k) {
#pragma unroll
    for (int i = 0; i < 4; ++i)
      weights[k][i] =
          pack_bf16(scores[2 * k + i / 2][i % 2 * 2], scores[2 * k + i / 2][i % 2 * 2 + 1]);
  }
#pragma unroll
  for (auto& half : block.out) hold(half);
  group_fence();
  multiply_values(block, weights, j);
  group_commit();
  group_wait<0>();
  hold(next);
#pragma unroll
  for (auto& half : block.out) hold(half);
}

template <class T>
__device__ void write(Block<T>& block) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    RowState& state = block.state[r];
    state.sum = sum_of_four(state.sum);
    const RowOutput out =
        RowOutput::of<T::kDim>(block.a, block.tile, block.row + r * 8, state, block.lane % 4 == 0);
#pragma unroll
    for (int half = 0; half < T::kHalves; ++half) {
#pragma unroll
      for (int n = 0; n < 16; ++n) {
        out.store(half * 128 + n * 8 + block.lane % 4 * 2, block.out[half][n][2 * r],
                  block.out[half][n][2 * r + 1]);
      }
    }
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads, 1) prompt_rows(const AttentionArguments a) {
  extern __shared__ __align__(1024) Bits16 shared[];
  AttentionTile tile;
  if (!find_tile<kRows, T::kKeys>(a, tile)) return;
  const auto thread = static_cast<int>(threadIdx.x);
  Block<T> block{.a = a,
                 .tile = tile,
                 .shared = shared,
                 .lane = thread % kWarp,
                 .row = thread / kWarp * 16 + thread % kWarp / 4,
                 .reader = typename Block<T>::Reader(a, tile),
                 .key_row = -1,
                 .value_row = -1};
  block.fetch_keys(tile.begin);
  copy_async_commit();
  block.fetch_keys(tile.begin + 1);
  block.fetch_values(tile.begin);
  copy_async_commit();
  load_queries<kRows, typename T::QueryLayout, kThreads>(a, tile, shared);
  copy_async_wait<1>();
  publish_shared();
  __syncthreads();

  if constexpr (T::kHeld) {
    load_rows(block.queries, shared_address(shared) + threadIdx.x / kWarp * 16 * 128,
              T::QueryLayout::kPanel);
  }
  Scores<T> even, odd;
  hold(even);
  group_fence();
  multiply_keys(block, even, tile.begin);
  group_commit();
  group_wait<0>();
  hold(even);
  for (int j = tile.begin; j < tile.end; j += 2) {
    turn(block, even, odd, j);
    if (j + 1 == tile.end) break;
    turn(block, odd, even, j + 1);
  }
  copy_async_wait<0>();
  write(block);
}

template <class T>
void launch(const AttentionArguments& a, cudaStream_t stream) {
  check(cudaFuncSetAttribute(prompt_rows<T>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(T::kSharedBytes)),
        "asking for the shared memory of attention");
  const dim3 grid(static_cast<unsigned>(a.part.row_tiles * a.kv_heads * a.part.splits),
                  static_cast<unsigned>(a.tables.segments));
  prompt_rows<T><<<grid, kThreads, T::kSharedBytes, stream>>>(a);
  check_launch("attention of a prompt");
}

}  // namespace

void attention_prompt_hopper(const AttentionArguments& arguments, int dim, cudaStream_t stream) {
  if (dim == 128) return launch<HopperTile<128, 64, true>>(arguments, stream);
  return launch<HopperTile<256, 64, false>>(arguments, stream);
}

}  // namespace krasis::cuda
