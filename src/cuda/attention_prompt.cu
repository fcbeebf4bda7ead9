// Attention of many rows: a warp owns 16 or 32 packed rows, whose scores and results never leave
// its registers. While scores are computed the tile's values arrive, and the next tile's keys while
// the values are used (Dao 2023, https://arxiv.org/abs/2307.08691, algorithm 1).
#include "cuda/attention_parts.cuh"
#include "cuda/runtime.h"

namespace krasis::cuda {
namespace {

// kTiles: 16-row tiles a warp. Two of them use every key and value fragment twice, but for a
// dimension of 256 the results of one fill the registers.
template <int kDimension, int kWarpsOfBlock, int kTilesOfWarp, int kBlocksPerMultiprocessor>
struct PromptTile {
  static constexpr int kDim = kDimension;
  static constexpr int kTiles = kTilesOfWarp;
  static constexpr int kThreads = kWarpsOfBlock * kWarp;
  static constexpr int kRows = kWarpsOfBlock * kTiles * 16;
  static constexpr int kKeys = 64;
  static constexpr int kBlocks = kBlocksPerMultiprocessor;
  using Layout = RowLayout<kDim>;
  static constexpr int kPitch = Layout::kPitch;
  static constexpr std::size_t kSharedBytes = std::size_t{kRows + 2 * kKeys} * kPitch;
};

template <class T>
struct Fragments {
  float scores[T::kTiles][T::kKeys / 8][4];
  float out[T::kTiles][T::kDim / 8][4];
  RowState state[T::kTiles][2];  // of rows lane / 4 and lane / 4 + 8 of each tile
};

// scores = queries keys^T
template <class T>
__device__ void multiply_keys(Fragments<T>& f, unsigned queries, unsigned keys, int lane) {
  const unsigned row = lane % 8;
  queries += static_cast<unsigned>(lane % 16) * T::kPitch;
  keys += (row + lane / 16 * 8) * T::kPitch;
  const unsigned query_part = (lane / 16 ^ row) * 16;
  const unsigned key_part = (lane / 8 % 2 ^ row) * 16;
#pragma unroll
  for (int m = 0; m < T::kTiles; ++m) {
#pragma unroll
    for (int n = 0; n < T::kKeys / 8; ++n)
      f.scores[m][n][0] = f.scores[m][n][1] = f.scores[m][n][2] = f.scores[m][n][3] = 0;
  }
#pragma unroll
  for (int k = 0; k < T::kDim / 16; ++k) {
    unsigned a[T::kTiles][4];
#pragma unroll
    for (int m = 0; m < T::kTiles; ++m)
      load_matrices(queries + m * 16 * T::kPitch + at_step(query_part, k), a[m]);
#pragma unroll
    for (int n = 0; n < T::kKeys / 16; ++n) {
      unsigned b[4];
      load_matrices(keys + n * 16 * T::kPitch + at_step(key_part, k), b);
#pragma unroll
      for (int m = 0; m < T::kTiles; ++m) {
        multiply_add(f.scores[m][2 * n], a[m], b[0], b[1]);
        multiply_add(f.scores[m][2 * n + 1], a[m], b[2], b[3]);
      }
    }
  }
}

// Takes out the keys after each row's own position. `first` is the position of the tile's first
// key.
template <class T>
__device__ void mask(Fragments<T>& f, const AttentionTile& tile, int warp_row, int first,
                     int lane) {
#pragma unroll
  for (int m = 0; m < T::kTiles; ++m) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int last = tile.position(warp_row + m * 16 + r * 8 + lane / 4) - first - lane % 4 * 2;
#pragma unroll
      for (int n = 0; n < T::kKeys / 8; ++n) {
        if (n * 8 > last) f.scores[m][n][2 * r] = kNoScore;
        if (n * 8 + 1 > last) f.scores[m][n][2 * r + 1] = kNoScore;
      }
    }
  }
}

// Turns scores into weights.
template <class T>
__device__ void weigh(Fragments<T>& f) {
#pragma unroll
  for (int m = 0; m < T::kTiles; ++m) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float largest = kNoScore;
#pragma unroll
      for (int n = 0; n < T::kKeys / 8; ++n)
        largest = fmaxf(largest, fmaxf(f.scores[m][n][2 * r], f.scores[m][n][2 * r + 1]));
      RowState& state = f.state[m][r];
      const float factor = state.raise(largest_of_four(largest));
      const float base = state.base();
#pragma unroll
      for (int n = 0; n < T::kKeys / 8; ++n) {
        float& first = f.scores[m][n][2 * r];
        float& second = f.scores[m][n][2 * r + 1];
        first = power_of_two(first - base);
        second = power_of_two(second - base);
        state.sum += first + second;
      }
#pragma unroll
      for (int d = 0; d < T::kDim / 8; ++d) {
        f.out[m][d][2 * r] *= factor;
        f.out[m][d][2 * r + 1] *= factor;
      }
    }
  }
}

// out += weights values
template <class T>
__device__ void multiply_values(Fragments<T>& f, unsigned values, int lane) {
  values += static_cast<unsigned>(lane % 16) * T::kPitch;
  const unsigned value_part = (lane / 16 ^ lane % 8) * 16u;
#pragma unroll
  for (int k = 0; k < T::kKeys / 16; ++k) {
    unsigned a[T::kTiles][4];
#pragma unroll
    for (int m = 0; m < T::kTiles; ++m) {
      const auto& s = f.scores[m];
      a[m][0] = pack_bf16(s[2 * k][0], s[2 * k][1]);
      a[m][1] = pack_bf16(s[2 * k][2], s[2 * k][3]);
      a[m][2] = pack_bf16(s[2 * k + 1][0], s[2 * k + 1][1]);
      a[m][3] = pack_bf16(s[2 * k + 1][2], s[2 * k + 1][3]);
    }
#pragma unroll
    for (int d = 0; d < T::kDim / 16; ++d) {
      unsigned b[4];
      load_transposed(values + k * 16 * T::kPitch + at_step(value_part, d), b);
#pragma unroll
      for (int m = 0; m < T::kTiles; ++m) {
        multiply_add(f.out[m][2 * d], a[m], b[0], b[1]);
        multiply_add(f.out[m][2 * d + 1], a[m], b[2], b[3]);
      }
    }
  }
}

template <class T>
__device__ void write(const AttentionArguments& a, const AttentionTile& tile, Fragments<T>& f,
                      int warp_row, int lane) {
#pragma unroll
  for (int m = 0; m < T::kTiles; ++m) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      RowState& state = f.state[m][r];
      state.sum = sum_of_four(state.sum);
      const RowOutput out = RowOutput::of<T::kDim>(a, tile, warp_row + m * 16 + r * 8 + lane / 4,
                                                   state, lane % 4 == 0);
#pragma unroll
      for (int d = 0; d < T::kDim / 8; ++d)
        out.store(d * 8 + lane % 4 * 2, f.out[m][d][2 * r], f.out[m][d][2 * r + 1]);
    }
  }
}

template <class T>
__global__ void __launch_bounds__(T::kThreads, T::kBlocks) prompt(const AttentionArguments a) {
  extern __shared__ __align__(1024) Bits16 shared[];
  AttentionTile tile;
  if (!find_tile<T::kRows, T::kKeys>(a, tile)) return;
  Bits16* const keys = shared + T::kRows * T::kDim;
  Bits16* const values = keys + T::kKeys * T::kDim;
  const int lane = threadIdx.x % kWarp;
  const int warp_row = static_cast<int>(threadIdx.x) / kWarp * T::kTiles * 16;
  const unsigned query_address = shared_address(shared) + warp_row * T::kPitch;
  using Reader = PageReader<T::kKeys, T::kThreads>;
  Reader reader(a, tile);
  Fragments<T> f{};

  int cache_row = reader.next();
  if (tile.begin < tile.end) Reader::template copy<typename T::Layout>(a.keys, cache_row, keys);
  copy_async_commit();
  load_queries<T::kRows, typename T::Layout, T::kThreads>(a, tile, shared);
  for (int j = tile.begin; j < tile.end; ++j) {
    copy_async_wait<0>();
    __syncthreads();  // the keys are there, and nobody reads the last tile's values any more
    Reader::template copy<typename T::Layout>(a.values, cache_row, values);
    copy_async_commit();
    cache_row = reader.next();
    multiply_keys(f, query_address, shared_address(keys), lane);
    copy_async_wait<0>();
    __syncthreads();  // the values are there, and nobody reads the keys any more
    if (j + 1 < tile.end) Reader::template copy<typename T::Layout>(a.keys, cache_row, keys);
    copy_async_commit();
    if ((j + 1) * T::kKeys > tile.seen_by_all) mask(f, tile, warp_row, j * T::kKeys, lane);
    weigh(f);
    multiply_values(f, shared_address(values), lane);
  }
  write(a, tile, f, warp_row, lane);
}

template <class T>
void launch(const AttentionArguments& a, cudaStream_t stream) {
  check(cudaFuncSetAttribute(prompt<T>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(T::kSharedBytes)),
        "asking for the shared memory of attention");
  const dim3 grid(static_cast<unsigned>(a.part.row_tiles * a.kv_heads * a.part.splits),
                  static_cast<unsigned>(a.tables.segments));
  prompt<T><<<grid, T::kThreads, T::kSharedBytes, stream>>>(a);
  check_launch("attention of a prompt");
}

}  // namespace

void attention_prompt(const AttentionArguments& arguments, int dim, cudaStream_t stream) {
  if (dim == 64) return launch<PromptTile<64, 4, 2, 2>>(arguments, stream);
  if (dim == 128) return launch<PromptTile<128, 4, 2, 2>>(arguments, stream);
  return launch<PromptTile<256, 8, 1, 1>>(arguments, stream);
}

}  // namespace krasis::cuda
