// Attention whose rows a block's warps share: few rows, where all warps are needed to read keys
// fast enough, and latent attention, where one row's results fill four warps' registers. For each
// tile of keys the warps of a row group first divide the keys, then, once the weights lie in shared
// memory, the columns of the values. The next tile arrives meanwhile.
#pragma once

#include <type_traits>

#include "cuda/attention_narrow.cuh"
#include "cuda/attention_parts.cuh"
#include "cuda/early_start.cuh"

namespace krasis::cuda {

struct SharedShape {
  int key_dim, value_dim;
  bool latent;
  int row_groups;       // of warps
  int warps;            // of a row group
  int tiles;            // of 16 rows, of a row group
  int keys;             // of a tile
  int blocks;           // of a multiprocessor, that registers must suffice for
  bool narrow = false;  // the cache is of E4M3
};

template <SharedShape S>
struct SharedTile {
  static constexpr SharedShape shape = S;
  static constexpr int kWarps = S.row_groups * S.warps;
  static constexpr int kThreads = kWarps * kWarp;
  static constexpr int kGroupThreads = S.warps * kWarp;
  static constexpr int kRows = S.row_groups * S.tiles * 16;
  static constexpr int kKeyTiles = S.keys / S.warps / 8;          // 8-key tiles of a warp
  static constexpr int kValueTiles = S.value_dim / S.warps / 16;  // 16-column tiles of a warp
  static constexpr int kChains =
      S.tiles * kKeyTiles < 4 ? 2 : 1;             // sums that do not wait for each other
  static constexpr int kKeyPitch = S.key_dim * 2;  // bytes of a row in shared memory
  static constexpr int kValuePitch = S.latent ? kKeyPitch : S.value_dim * 2;
  static constexpr int kWeightPitch = (S.keys < 64 ? 64 : S.keys) * 2;
  static constexpr int kStages = S.narrow ? 1 : 2;  // registers hold the tile that comes next
  static constexpr int kStageNumbers = S.keys * (S.key_dim + (S.latent ? 0 : S.value_dim));
  static constexpr int kQueryNumbers = kRows * S.key_dim;
  static constexpr int kWeightNumbers = kRows * kWeightPitch / 2;
  static constexpr std::size_t kSharedBytes =
      sizeof(Bits16) * (kQueryNumbers + kStages * kStageNumbers + kWeightNumbers) +
      sizeof(float) * S.warps * kRows;
  static_assert(kKeyTiles >= 1 && kValueTiles >= 1 && S.key_dim % 32 == 0);
};

// Where a warp stands in its block, and the block's shared memory.
template <class T>
struct Place {
  int lane, group, warp;  // the warp's number in its row group
  Bits16* queries;
  Bits16* stages;
  Bits16* weights;
  float* row_numbers;  // [warps of a group, rows]

  __device__ explicit Place(Bits16* shared)
      : lane(threadIdx.x % kWarp),
        group(static_cast<int>(threadIdx.x) / T::kGroupThreads),
        warp(static_cast<int>(threadIdx.x) / kWarp % T::shape.warps),
        queries(shared),
        stages(queries + T::kQueryNumbers),
        weights(stages + T::kStages * T::kStageNumbers),
        row_numbers(reinterpret_cast<float*>(weights + T::kWeightNumbers)) {}

  __device__ int first_row() const { return group * T::shape.tiles * 16; }
  // The row in the block of this lane's row r (0, 1) of tile m.
  __device__ int row(int m, int r) const { return first_row() + m * 16 + r * 8 + lane / 4; }
  __device__ Bits16* stage(int j) const { return stages + j % T::kStages * T::kStageNumbers; }
  // Waits for the warps of the row group. Barrier 0 is __syncthreads.
  __device__ void synchronize_group() const {
    asm volatile("bar.sync %0, %1;\n" ::"r"(group + 1), "n"(T::kGroupThreads) : "memory");
  }
};

template <class T>
struct SharedFragments {
  float scores[T::shape.tiles][T::kKeyTiles][4];
  float out[T::shape.tiles][T::kValueTiles * 2][4];
  RowState state[T::shape.tiles][2];  // the sum is of this warp's keys only
};

// scores = queries keys^T, of this warp's keys
template <class T>
__device__ void multiply_keys(const Place<T>& place, SharedFragments<T>& f, const Bits16* tile) {
  const unsigned row = place.lane % 8;
  const unsigned queries =
      shared_address(place.queries) + (place.first_row() + place.lane % 16) * T::kKeyPitch;
  const unsigned keys = shared_address(tile) + (place.warp * T::kKeyTiles * 8 + row) * T::kKeyPitch;
  const unsigned query_part = (place.lane / 16 ^ row) * 16;
  const unsigned key_part = (place.lane / 8 ^ row) * 16;
  float sums[T::kChains][T::shape.tiles][T::kKeyTiles][4] = {};
#pragma unroll
  for (int k = 0; k < T::shape.key_dim / 32; ++k) {
    unsigned a[2][T::shape.tiles][4];
#pragma unroll
    for (int m = 0; m < T::shape.tiles; ++m) {
      load_matrices(queries + m * 16 * T::kKeyPitch + at_step(query_part, 2 * k), a[0][m]);
      load_matrices(queries + m * 16 * T::kKeyPitch + at_step(query_part, 2 * k + 1), a[1][m]);
    }
#pragma unroll
    for (int n = 0; n < T::kKeyTiles; ++n) {
      unsigned b[4];  // 32 numbers of 8 keys
      load_matrices(keys + n * 8 * T::kKeyPitch + at_step(key_part, 2 * k), b);
#pragma unroll
      for (int m = 0; m < T::shape.tiles; ++m) {
        multiply_add(sums[0][m][n], a[0][m], b[0], b[1]);
        multiply_add(sums[T::kChains - 1][m][n], a[1][m], b[2], b[3]);
      }
    }
  }
#pragma unroll
  for (int m = 0; m < T::shape.tiles; ++m) {
#pragma unroll
    for (int n = 0; n < T::kKeyTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i)
        f.scores[m][n][i] =
            sums[0][m][n][i] + (T::kChains == 2 ? sums[1 % T::kChains][m][n][i] : 0);
    }
  }
}

// Takes out the keys after each row's own position; `first` is the position of the tile's first
// key.
template <class T>
__device__ void mask(const Place<T>& place, SharedFragments<T>& f, const AttentionTile& tile,
                     int first) {
  const int mine = first + place.warp * T::kKeyTiles * 8 + place.lane % 4 * 2;
#pragma unroll
  for (int m = 0; m < T::shape.tiles; ++m) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int last = tile.position(place.row(m, r)) - mine;
#pragma unroll
      for (int n = 0; n < T::kKeyTiles; ++n) {
        if (n * 8 > last) f.scores[m][n][2 * r] = kNoScore;
        if (n * 8 + 1 > last) f.scores[m][n][2 * r + 1] = kNoScore;
      }
    }
  }
}

// Turns scores into weights and leaves them in shared memory. The row group's warps must all have
// finished with the weights before.
template <class T>
__device__ void weigh(const Place<T>& place, SharedFragments<T>& f) {
#pragma unroll
  for (int m = 0; m < T::shape.tiles; ++m) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float largest = kNoScore;
#pragma unroll
      for (int n = 0; n < T::kKeyTiles; ++n)
        largest = fmaxf(largest, fmaxf(f.scores[m][n][2 * r], f.scores[m][n][2 * r + 1]));
      largest = largest_of_four(largest);
      if (place.lane % 4 == 0) place.row_numbers[place.warp * T::kRows + place.row(m, r)] = largest;
    }
  }
  place.synchronize_group();
#pragma unroll
  for (int m = 0; m < T::shape.tiles; ++m) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int row = place.row(m, r);
      float largest = kNoScore;
#pragma unroll
      for (int w = 0; w < T::shape.warps; ++w)
        largest = fmaxf(largest, place.row_numbers[w * T::kRows + row]);
      RowState& state = f.state[m][r];
      const float factor = state.raise(largest);
      const float base = state.base();
      char* const weights =
          reinterpret_cast<char*>(place.weights) + row * T::kWeightPitch + place.lane % 4 * 4;
#pragma unroll
      for (int n = 0; n < T::kKeyTiles; ++n) {
        const float first = power_of_two(f.scores[m][n][2 * r] - base);
        const float second = power_of_two(f.scores[m][n][2 * r + 1] - base);
        state.sum += first + second;
        const int chunk = (place.warp * T::kKeyTiles + n) ^ (row % 8);
        *reinterpret_cast<unsigned*>(weights + chunk * 16) = pack_bf16(first, second);
      }
#pragma unroll
      for (auto& column : f.out[m]) {
        column[2 * r] *= factor;
        column[2 * r + 1] *= factor;
      }
    }
  }
  place.synchronize_group();
}

// out += weights values, of this warp's columns
template <class T>
__device__ void multiply_values(const Place<T>& place, SharedFragments<T>& f, const Bits16* tile) {
  const unsigned row = place.lane % 16;
  const unsigned part = (place.lane / 16 ^ row % 8) * 16;
  const unsigned weights =
      shared_address(place.weights) + (place.first_row() + row) * T::kWeightPitch;
  const unsigned values = shared_address(tile) + row * T::kValuePitch;
#pragma unroll
  for (int k = 0; k < T::shape.keys / 16; ++k) {
    unsigned a[T::shape.tiles][4];
#pragma unroll
    for (int m = 0; m < T::shape.tiles; ++m)
      load_matrices(weights + m * 16 * T::kWeightPitch + at_step(part, k), a[m]);
#pragma unroll
    for (int d = 0; d < T::kValueTiles; ++d) {
      unsigned b[4];
      load_transposed(
          values + k * 16 * T::kValuePitch + at_step(part, place.warp * T::kValueTiles + d), b);
#pragma unroll
      for (int m = 0; m < T::shape.tiles; ++m) {
        multiply_add(f.out[m][2 * d], a[m], b[0], b[1]);
        multiply_add(f.out[m][2 * d + 1], a[m], b[2], b[3]);
      }
    }
  }
}

// Adds the warps' sums of weights, so that each has the whole.
template <class T>
__device__ void add_sums(const Place<T>& place, SharedFragments<T>& f) {
  place.synchronize_group();  // the last tile's largest scores have been read
#pragma unroll
  for (int m = 0; m < T::shape.tiles; ++m) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float sum = sum_of_four(f.state[m][r].sum);
      if (place.lane % 4 == 0) place.row_numbers[place.warp * T::kRows + place.row(m, r)] = sum;
    }
  }
  place.synchronize_group();
#pragma unroll
  for (int m = 0; m < T::shape.tiles; ++m) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float& sum = f.state[m][r].sum;
      sum = 0;
#pragma unroll
      for (int w = 0; w < T::shape.warps; ++w)
        sum += place.row_numbers[w * T::kRows + place.row(m, r)];
    }
  }
}

template <class T>
__device__ void write(const AttentionArguments& a, const AttentionTile& tile, const Place<T>& place,
                      SharedFragments<T>& f) {
#pragma unroll
  for (int m = 0; m < T::shape.tiles; ++m) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const RowOutput out = RowOutput::of<T::shape.value_dim>(
          a, tile, place.row(m, r), f.state[m][r], place.warp == 0 && place.lane % 4 == 0);
#pragma unroll
      for (int d = 0; d < T::kValueTiles * 2; ++d) {
        out.store((place.warp * T::kValueTiles * 2 + d) * 8 + place.lane % 4 * 2,
                  f.out[m][d][2 * r], f.out[m][d][2 * r + 1]);
      }
    }
  }
}

// Brings tiles into shared memory: fetch(j) asks for one, arrive(j) waits for it, as far as this
// thread's part goes.
template <class T, bool kNarrow = T::shape.narrow>
class TileFetcher {
 public:
  __device__ TileFetcher(const AttentionArguments& a, const AttentionTile& tile,
                         const Place<T>& place)
      : a_(a), tile_(tile), place_(place), reader_(a, tile) {}

  __device__ void fetch(int j) {
    if (j < tile_.end) {
      const int cache_row = reader_.next();
      Bits16* const keys = place_.stage(j);
      Reader::template copy<RowLayout<T::shape.key_dim>>(a_.keys, cache_row, keys);
      if constexpr (!T::shape.latent) {
        Reader::template copy<RowLayout<T::shape.value_dim>>(
            a_.values, cache_row, keys + T::shape.keys * T::shape.key_dim);
      }
    }
    copy_async_commit();
  }
  __device__ void arrive(int /*j*/) { copy_async_wait<0>(); }

 private:
  using Reader = PageReader<T::shape.keys, T::kThreads>;
  const AttentionArguments& a_;
  const AttentionTile& tile_;
  const Place<T>& place_;
  Reader reader_;
};

// E4M3 come into registers, and are widened on their way to shared memory.
template <class T>
class TileFetcher<T, true> {
 public:
  __device__ TileFetcher(const AttentionArguments& a, const AttentionTile& tile,
                         const Place<T>& place)
      : a_(a), tile_(tile), place_(place), reader_(a, tile) {}

  __device__ void fetch(int j) {
    if (j >= tile_.end) return;
    const int cache_row = reader_.next();
    keys_.load(a_.keys, cache_row);
    if constexpr (!T::shape.latent) values_.load(a_.values, cache_row);
  }
  __device__ void arrive(int j) const {
    __syncthreads();  // nobody reads the tile before any more
    Bits16* const keys = place_.stage(j);
    keys_.store(keys);
    if constexpr (!T::shape.latent) values_.store(keys + T::shape.keys * T::shape.key_dim);
  }

 private:
  struct Nothing {};
  template <int kDim>
  using Part = NarrowRows<kDim, T::shape.keys, T::kThreads>;
  const AttentionArguments& a_;
  const AttentionTile& tile_;
  const Place<T>& place_;
  PageReader<T::shape.keys, T::kThreads> reader_;
  Part<T::shape.key_dim> keys_;
  [[no_unique_address]] std::conditional_t<T::shape.latent, Nothing, Part<T::shape.value_dim>>
      values_;
};

template <class T>
__global__ void __launch_bounds__(T::kThreads, T::shape.blocks)
    shared_rows(const AttentionArguments a) {
  extern __shared__ __align__(1024) Bits16 shared[];
  let_later_start();
  wait_for_earlier();
  AttentionTile tile;
  if (!find_tile<T::kRows, T::shape.keys>(a, tile)) return;
  const Place<T> place(shared);
  TileFetcher<T> fetcher(a, tile, place);

  SharedFragments<T> f{};
  fetcher.fetch(tile.begin);
  load_queries<T::kRows, RowLayout<T::shape.key_dim>, T::kThreads>(a, tile, place.queries);
  for (int j = tile.begin; j < tile.end; ++j) {
    fetcher.arrive(j);
    // The tile is there, and nobody reads the one before any more, whose place the next one takes.
    __syncthreads();
    fetcher.fetch(j + 1);
    const Bits16* const keys = place.stage(j);
    multiply_keys(place, f, keys);
    if ((j + 1) * T::shape.keys > tile.seen_by_all) mask(place, f, tile, j * T::shape.keys);
    weigh(place, f);
    multiply_values(place, f, T::shape.latent ? keys : keys + T::shape.keys * T::shape.key_dim);
  }
  add_sums(place, f);
  write(a, tile, place, f);
}

template <SharedShape S>
void launch_shared(const AttentionArguments& a, const Launch& launch) {
  using T = SharedTile<S>;
  const dim3 grid(static_cast<unsigned>(a.part.row_tiles * a.kv_heads * a.part.splits),
                  static_cast<unsigned>(a.tables.segments));
  start_early(shared_rows<T>,
              {.blocks = grid, .threads = T::kThreads, .shared_bytes = T::kSharedBytes}, launch, a);
}

}  // namespace krasis::cuda
