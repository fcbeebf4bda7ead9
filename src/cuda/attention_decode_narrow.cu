// Attention of few rows on a cache of E4M3, keys and values of 128 or 256 numbers. A warp has keys
// of its own, 16 a turn, which come from memory straight into the registers that tensor cores read:
// a lane's 16 bytes of a key are its share of four products, whose columns may be taken in any
// order, and its 16 bytes of a value are a column of 16 products. Results of the block's warps
// become one at the end.
#include "cuda/attention_parts.cuh"
#include "cuda/float8.cuh"
#include "cuda/runtime.h"

namespace krasis::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;
constexpr int kRows = 16;
constexpr int kTurnKeys = 16;
constexpr int kKeys = kWarps * kTurnKeys;  // of a tile

template <int kDimension, int kBlocksOfMultiprocessor>
struct NarrowTile {
  static constexpr int kDim = kDimension;
  static constexpr int kBlocks = kBlocksOfMultiprocessor;
  static constexpr int kKeyPieces = kDim / 64;     // of 16 bytes: a lane's of a key
  static constexpr int kValuePieces = kDim / 128;  // and of a value
  static constexpr int kSteps = kDim / 16;         // products along a key
  static constexpr int kColumns = kDim / 8;        // products across a value
  static constexpr int kMergeNumbers = (kColumns + 1) * 4 * kWarp;  // of a warp
  static constexpr std::size_t kSharedBytes =
      std::max(std::size_t{kSteps} * kWarp * sizeof(uint4),
               std::size_t{kWarps / 2} * kMergeNumbers * sizeof(float));
};

// With g = lane / 4 and j = lane % 4:
template <class T>
struct NarrowFragments {
  uint4 keys[2][T::kKeyPieces];      // of keys g and g + 8: numbers 64 c + 16 j..
  uint4 values[4][T::kValuePieces];  // of keys 2 j, 2 j + 1, 2 j + 8, 2 j + 9: 128 c + 16 g..
  float scores[2][4];                // rows g and g + 8 of keys 2 j and 2 j + 1, and 8 on
  float out[T::kColumns][4];         // [16 c + t]: columns 128 c + 32 j + t and 16 on
  RowState state[2];                 // of rows g and g + 8; the sum is of this lane's keys only
};

// 2^120 for widen_pair(), or NaN if there is one among the pieces.
template <int kPieces>
__device__ unsigned scale_of(const uint4 (&pieces)[kPieces]) {
  unsigned nan = 0;
#pragma unroll
  for (const uint4& piece : pieces) {
    nan |= narrow_nan(piece.x) | narrow_nan(piece.y);
    nan |= narrow_nan(piece.z) | narrow_nan(piece.w);
  }
  return (nan & 0x80808080u) == 0 ? kNarrowScale : 0x7FFF7FFFu;
}

__device__ inline unsigned word_of(const uint4& piece, int i) {
  return i == 0 ? piece.x : i == 1 ? piece.y : i == 2 ? piece.z : piece.w;
}

// The queries as multiply_keys() takes them: [steps][lanes].
template <class T>
__device__ void load_narrow_queries(const AttentionArguments& a, const AttentionTile& tile,
                                    uint4* to) {
  const auto query = [&](int row, int column) {
    if (!tile.has(row)) return float4{};
    const std::int64_t at =
        std::int64_t{tile.first_row + tile.token(row)} * a.heads + tile.head(row);
    const float4 q = *reinterpret_cast<const float4*>(a.queries + at * a.query_stride + column);
    return float4{q.x * a.scale, q.y * a.scale, q.z * a.scale, q.w * a.scale};
  };
  for (int i = static_cast<int>(threadIdx.x); i < T::kSteps * kWarp; i += kThreads) {
    const int step = i / kWarp;
    const int lane = i % kWarp;
    const int column = step / 4 * 64 + lane % 4 * 16 + step % 4 * 4;
    const float4 upper = query(lane / 4, column);
    const float4 lower = query(lane / 4 + 8, column);
    to[i] = {pack_bf16(upper.x, upper.y), pack_bf16(lower.x, lower.y), pack_bf16(upper.z, upper.w),
             pack_bf16(lower.z, lower.w)};
  }
}

// This lane's row of the cache for key lane % 16 of the warp's turn j, or -1 beyond the last.
__device__ int look_up(const AttentionArguments& a, const AttentionTile& tile, int j) {
  const auto thread = static_cast<int>(threadIdx.x);
  const int token = j * kKeys + thread / kWarp * kTurnKeys + thread % kTurnKeys;
  if (j >= tile.end || token >= tile.keys) return -1;
  const int* const pages = a.tables.pages + std::int64_t{tile.segment} * a.tables.page_stride;
  return (pages[token / a.page_tokens] * a.kv_heads + tile.kv_head) * a.page_tokens +
         token % a.page_tokens;
}

template <int kDim, int kStep, int kPieces>
__device__ void load_pieces(const Bits16* cache, int cache_row, int first,
                            uint4 (&pieces)[kPieces]) {
  const auto* const from =
      reinterpret_cast<const std::uint8_t*>(cache) + std::int64_t{cache_row} * kDim + first;
#pragma unroll
  for (int c = 0; c < kPieces; ++c) {
    pieces[c] = {};
    if (cache_row >= 0) pieces[c] = load_stream(from + c * kStep);
  }
}

template <class T>
__device__ void load_keys(NarrowFragments<T>& f, const AttentionArguments& a, int cache_row,
                          int lane) {
#pragma unroll
  for (int n = 0; n < 2; ++n) {
    const int row = __shfl_sync(~0u, cache_row, lane / 4 + n * 8);
    load_pieces<T::kDim, 64>(a.keys, row, lane % 4 * 16, f.keys[n]);
  }
}

template <class T>
__device__ void load_values(NarrowFragments<T>& f, const AttentionArguments& a, int cache_row,
                            int lane) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int row = __shfl_sync(~0u, cache_row, lane % 4 * 2 + i % 2 + i / 2 * 8);
    load_pieces<T::kDim, 128>(a.values, row, lane / 4 * 16, f.values[i]);
  }
}

// scores = queries keys^T
template <class T>
__device__ void multiply_keys(NarrowFragments<T>& f, const uint4* queries, int lane) {
  unsigned scales[2];
#pragma unroll
  for (int n = 0; n < 2; ++n) {
    scales[n] = scale_of(f.keys[n]);
#pragma unroll
    for (float& score : f.scores[n]) score = 0;
  }
#pragma unroll
  for (int k = 0; k < T::kSteps; ++k) {
    const uint4 query = queries[k * kWarp + lane];
    const unsigned rows[4] = {query.x, query.y, query.z, query.w};
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      const unsigned word = word_of(f.keys[n][k / 4], k % 4);
      multiply_add(f.scores[n], rows, widen_pair(__byte_perm(word, 0, 0x1404), scales[n]),
                   widen_pair(__byte_perm(word, 0, 0x3424), scales[n]));
    }
  }
}

// Takes out the keys after each row's own position; `first` is the position of the turn's first.
template <class T>
__device__ void mask(NarrowFragments<T>& f, const AttentionTile& tile, int first, int lane) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int last = tile.position(lane / 4 + r * 8) - first - lane % 4 * 2;
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      if (n * 8 > last) f.scores[n][2 * r] = kNoScore;
      if (n * 8 + 1 > last) f.scores[n][2 * r + 1] = kNoScore;
    }
  }
}

// Turns scores into weights.
template <class T>
__device__ void weigh(NarrowFragments<T>& f) {
  float factors[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float first = fmaxf(f.scores[0][2 * r], f.scores[0][2 * r + 1]);
    const float second = fmaxf(f.scores[1][2 * r], f.scores[1][2 * r + 1]);
    RowState& state = f.state[r];
    factors[r] = state.raise(largest_of_four(fmaxf(first, second)));
    const float base = state.base();
#pragma unroll
    for (auto& scores : f.scores) {
      scores[2 * r] = power_of_two(scores[2 * r] - base);
      scores[2 * r + 1] = power_of_two(scores[2 * r + 1] - base);
      state.sum += scores[2 * r] + scores[2 * r + 1];
    }
  }
  if (!__any_sync(~0u, factors[0] != 1 || factors[1] != 1)) return;
#pragma unroll
  for (auto& column : f.out) {
#pragma unroll
    for (int i = 0; i < 4; ++i) column[i] *= factors[i / 2];
  }
}

// out += weights values
template <class T>
__device__ void multiply_values(NarrowFragments<T>& f) {
  const unsigned weights[4] = {
      pack_bf16(f.scores[0][0], f.scores[0][1]), pack_bf16(f.scores[0][2], f.scores[0][3]),
      pack_bf16(f.scores[1][0], f.scores[1][1]), pack_bf16(f.scores[1][2], f.scores[1][3])};
#pragma unroll
  for (int c = 0; c < T::kValuePieces; ++c) {
    const uint4 pieces[4] = {f.values[0][c], f.values[1][c], f.values[2][c], f.values[3][c]};
    const unsigned scale = scale_of(pieces);
#pragma unroll
    for (int t = 0; t < 16; ++t) {
      const auto pair = [&](int i) {
        // Byte t % 4 of both, each the upper one of a half.
        const unsigned selector = static_cast<unsigned>(t % 4 * 0x1010 + 0x4000);
        const unsigned halves =
            __byte_perm(word_of(pieces[i], t / 4), word_of(pieces[i + 1], t / 4), selector);
        return widen_pair(halves, scale);
      };
      multiply_add(f.out[c * 16 + t], weights, pair(0), pair(2));
    }
  }
}

// The results of all warps, in the first.
template <class T>
__device__ void merge(NarrowFragments<T>& f, float* shared, int warp, int lane) {
#pragma unroll
  for (RowState& state : f.state) state.sum = sum_of_four(state.sum);
  for (int half = kWarps / 2; half > 0; half /= 2) {
    __syncthreads();
    float4* const slot = reinterpret_cast<float4*>(shared + warp % half * T::kMergeNumbers) + lane;
    if (warp >= half && warp < 2 * half) {
      slot[0] = {f.state[0].largest, f.state[0].sum, f.state[1].largest, f.state[1].sum};
#pragma unroll
      for (int t = 0; t < T::kColumns; ++t)
        slot[(t + 1) * kWarp] = {f.out[t][0], f.out[t][1], f.out[t][2], f.out[t][3]};
    }
    __syncthreads();
    if (warp >= half) continue;
    const float4 limits = slot[0];
    float mine[2], theirs[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      mine[r] = f.state[r].raise(r == 0 ? limits.x : limits.z);
      theirs[r] = power_of_two((r == 0 ? limits.x : limits.z) - f.state[r].base());
      f.state[r].sum += (r == 0 ? limits.y : limits.w) * theirs[r];
    }
#pragma unroll
    for (int t = 0; t < T::kColumns; ++t) {
      const float4 other = slot[(t + 1) * kWarp];
      f.out[t][0] = f.out[t][0] * mine[0] + other.x * theirs[0];
      f.out[t][1] = f.out[t][1] * mine[0] + other.y * theirs[0];
      f.out[t][2] = f.out[t][2] * mine[1] + other.z * theirs[1];
      f.out[t][3] = f.out[t][3] * mine[1] + other.w * theirs[1];
    }
  }
}

template <class T>
__device__ void write(const AttentionArguments& a, const AttentionTile& tile,
                      const NarrowFragments<T>& f, int lane) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const RowOutput out =
        RowOutput::of<T::kDim>(a, tile, lane / 4 + r * 8, f.state[r], lane % 4 == 0);
#pragma unroll
    for (int t = 0; t < T::kColumns; t += 2) {
      const int column = t / 16 * 128 + lane % 4 * 32 + t % 16;
      out.store(column, f.out[t][2 * r], f.out[t + 1][2 * r]);
      out.store(column + 16, f.out[t][2 * r + 1], f.out[t + 1][2 * r + 1]);
    }
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads, T::kBlocks) decode(const AttentionArguments a) {
  extern __shared__ __align__(16) uint4 shared[];
  AttentionTile tile;
  if (!find_tile<kRows, kKeys>(a, tile)) return;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  NarrowFragments<T> f{};
  int cache_row = look_up(a, tile, tile.begin);
  load_keys(f, a, cache_row, lane);
  load_values(f, a, cache_row, lane);
  cache_row = look_up(a, tile, tile.begin + 1);
  load_narrow_queries<T>(a, tile, shared);
  __syncthreads();
  for (int j = tile.begin; j < tile.end; ++j) {
    multiply_keys(f, shared, lane);
    load_keys(f, a, cache_row, lane);
    if ((j + 1) * kKeys > tile.seen_by_all) mask(f, tile, j * kKeys + warp * kTurnKeys, lane);
    weigh(f);
    multiply_values(f);
    load_values(f, a, cache_row, lane);
    cache_row = look_up(a, tile, j + 2);
  }
  merge(f, reinterpret_cast<float*>(shared), warp, lane);
  if (warp == 0) write(a, tile, f, lane);
}

template <class T>
void launch_narrow(const AttentionArguments& a, cudaStream_t stream) {
  check(cudaFuncSetAttribute(decode<T>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(T::kSharedBytes)),
        "asking for the shared memory of attention");
  const dim3 grid(static_cast<unsigned>(a.part.row_tiles * a.kv_heads * a.part.splits),
                  static_cast<unsigned>(a.tables.segments));
  decode<T><<<grid, kThreads, T::kSharedBytes, stream>>>(a);
  check_launch("attention of few rows on E4M3");
}

}  // namespace

void attention_decode_narrow(const AttentionArguments& arguments, int dim, const Launch& launch) {
  // With few keys a split, what a warp does on its own takes longer than sharing it. On an H100 at
  // 64 keys a split 15.4 to 10.9 us, at 330 28.8 to 31.2.
  constexpr int kFewKeys = 192;
  const bool few = arguments.tables.max_context <= kFewKeys * arguments.part.splits;
  if (dim == 64 || few) return attention_shared_narrow(arguments, dim, launch);
  if (dim == 128) return launch_narrow<NarrowTile<128, 3>>(arguments, launch.stream);
  return launch_narrow<NarrowTile<256, 2>>(arguments, launch.stream);
}

}  // namespace krasis::cuda
