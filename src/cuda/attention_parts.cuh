// What the attention kernels on tensor cores share. Rows of queries, keys and values lie in shared
// memory as BF16, cut into chunks of 16 bytes; chunk c of row r is stored at place c ^ (r % 8), so
// that the eight rows that an instruction reads at once lie in different banks.
#pragma once

#include <limits>

#include "cuda/attention_plan.h"
#include "cuda/tensor_core.cuh"

namespace krasis::cuda {

using Bits16 = unsigned short;  // a BF16 number
constexpr int kChunk = 8;       // numbers of 16 bytes
constexpr float kNoScore = -std::numeric_limits<float>::infinity();

// How rows of `Dim` numbers lie in shared memory: one after the other, ...
template <int Dim>
struct RowLayout {
  static constexpr int kDim = Dim;
  static constexpr int kPitch = Dim * 2;  // bytes from a row to the next
  static constexpr int kPanel = 128;      // bytes from 64 numbers of a row to its next 64
};
// ... or in panels of 64 columns, `Rows` rows each.
template <int Dim, int Rows>
struct PanelLayout {
  static constexpr int kDim = Dim;
  static constexpr int kPitch = 128;
  static constexpr int kPanel = Rows * 128;
};

struct AttentionArguments {
  const float* queries;  // [tokens * heads, key_dim], rows query_stride apart
  std::int64_t query_stride;
  const Bits16* keys;    // [pages, kv_heads, page_tokens, key_dim]; E4M3 for the narrow kernels
  const Bits16* values;  // the same with value_dim; nullptr: the keys' first numbers
  float* out;            // [tokens * heads, value_dim], rows out_stride apart
  std::int64_t out_stride;
  int heads, kv_heads, group, page_tokens;
  float scale;  // times log2(e): weights are powers of two
  StepTables tables;
  AttentionPart part;
  float* partial;  // [splits, partial_rows, value_dim]: sums of weights times values
  float2* limits;  // [splits, partial_rows]: largest score, sum of weights
};

void attention_prompt(const AttentionArguments& arguments, int dim, cudaStream_t stream);
void attention_decode(const AttentionArguments& arguments, int dim, const Launch& launch);
void attention_latent(const AttentionArguments& arguments, const Launch& launch);
void attention_decode_narrow(const AttentionArguments& arguments, int dim, const Launch& launch);
void attention_shared_narrow(const AttentionArguments& arguments, int dim, const Launch& launch);
void attention_latent_narrow(const AttentionArguments& arguments, const Launch& launch);
void attention_combine(const AttentionArguments& arguments, int value_dim, const Launch& launch);
void attention_prompt_hopper(const AttentionArguments& arguments, int dim, cudaStream_t stream);
void attention_latent_hopper(const AttentionArguments& arguments, cudaStream_t stream);
void attention_any(const Attention& op, const Launch& launch);
// The segments of plan.widened_rows to tables.max_rows rows, each by way of its keys and values in
// BF16.
void attention_widened(const Attention& op, const AttentionPlan& plan, const Launch& launch);

// The row of `partial` and `limits` in a split.
__device__ inline std::int64_t partial_row(const AttentionArguments& a, int segment, int token,
                                           int head) {
  const std::int64_t first =
      a.part.by_segment ? std::int64_t{segment} * a.part.most_rows : a.tables.first_row[segment];
  return (first + token) * a.heads + head;
}

// The work of one thread block.
struct AttentionTile {
  int segment, kv_head, split;
  int group;            // query heads of a key-value head
  int first_row, past;  // of the segment
  int packed_rows;      // of the segment
  int first;            // packed row of the tile's first row
  int seen_by_all;      // keys that the tile's first row sees
  int keys;             // that its last row sees
  int begin, end;       // this split's part of the keys, in tiles of keys

  __device__ int token(int row) const { return (first + row) / group; }
  __device__ int head(int row) const { return kv_head * group + (first + row) % group; }
  __device__ int position(int row) const { return past + token(row); }
  __device__ bool has(int row) const { return first + row < packed_rows; }
};

// The grid is (row_tiles * kv_heads * splits, segments). Tiles with the most keys come first, or
// the last blocks would have the most work. False: nothing to do.
template <int kRows, int kKeys>
__device__ bool find_tile(const AttentionArguments& a, AttentionTile& tile) {
  int index = static_cast<int>(blockIdx.x);
  tile.kv_head = index % a.kv_heads;
  index /= a.kv_heads;
  tile.split = index % a.part.splits;
  index /= a.part.splits;
  tile.segment = static_cast<int>(blockIdx.y);
  const int rows = a.tables.rows[tile.segment];
  tile.first_row = a.tables.first_row[tile.segment];
  tile.past = a.tables.past[tile.segment];
  tile.group = a.group;
  tile.packed_rows = rows * a.group;
  tile.first = (a.part.row_tiles - 1 - index) * kRows;
  if (rows < a.part.least_rows || rows > a.part.most_rows || tile.first >= tile.packed_rows)
    return false;
  tile.seen_by_all = tile.past + tile.first / a.group + 1;
  tile.keys = tile.past + (min(tile.first + kRows, tile.packed_rows) - 1) / a.group + 1;
  const int key_tiles = (tile.keys + kKeys - 1) / kKeys;
  const int share = (key_tiles + a.part.splits - 1) / a.part.splits;
  tile.begin = min(tile.split * share, key_tiles);
  tile.end = min(tile.begin + share, key_tiles);
  if (tile.begin < tile.end) return true;
  // A split beyond the last key, of sequences shorter than the plan's bound.
  for (int row = static_cast<int>(threadIdx.x); row < kRows && tile.has(row);
       row += static_cast<int>(blockDim.x)) {
    const std::int64_t index = tile.split * a.part.partial_rows +
                               partial_row(a, tile.segment, tile.token(row), tile.head(row));
    a.limits[index] = {kNoScore, 0};
  }
  return false;
}

// The byte at which a lane's part of a row's 16 numbers number `step` lies. `lane_part` is the
// place of its chunk in the first 128 bytes: 16 * (chunk ^ row % 8).
__device__ inline unsigned at_step(unsigned lane_part, int step) {
  return (lane_part ^ ((step % 4) * 32u)) + (step / 4) * 128u;
}

// Four 8x8 matrices as load_matrices does, each transposed.
__device__ inline void load_transposed(unsigned address, unsigned (&r)[4]) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address));
}

__device__ inline float power_of_two(float exponent) {
  float power;
  asm("ex2.approx.ftz.f32 %0, %1;\n" : "=f"(power) : "f"(exponent));
  return power;
}

__device__ inline float largest_of_four(float value) {
  value = fmaxf(value, __shfl_xor_sync(~0u, value, 1));
  return fmaxf(value, __shfl_xor_sync(~0u, value, 2));
}
__device__ inline float sum_of_four(float value) {
  value += __shfl_xor_sync(~0u, value, 1);
  return value + __shfl_xor_sync(~0u, value, 2);
}

// A row's scores so far: the largest, and the sum of the weights relative to it.
struct RowState {
  float largest = kNoScore;
  float sum = 0;

  // Takes a new largest score; returns what all sums so far are to be multiplied by.
  __device__ float raise(float score) {
    const float before = largest;
    largest = fmaxf(largest, score);
    const float factor = power_of_two(before - base());
    sum *= factor;
    return factor;
  }
  // What to subtract from scores: finite even if nothing was visible yet.
  __device__ float base() const { return largest == kNoScore ? 0.0f : largest; }
};

// Eight numbers of a row's query, times the scale.
__device__ inline uint4 scaled_query(const AttentionArguments& a, const AttentionTile& tile,
                                     int row, int chunk) {
  const std::int64_t query =
      std::int64_t{tile.first_row + tile.token(row)} * a.heads + tile.head(row);
  const float4* from =
      reinterpret_cast<const float4*>(a.queries + query * a.query_stride + chunk * kChunk);
  const float4 low = from[0];
  const float4 high = from[1];
  return {pack_bf16(low.x * a.scale, low.y * a.scale), pack_bf16(low.z * a.scale, low.w * a.scale),
          pack_bf16(high.x * a.scale, high.y * a.scale),
          pack_bf16(high.z * a.scale, high.w * a.scale)};
}

template <class Layout>
__device__ void store_query(uint4 numbers, int row, int chunk, Bits16* to) {
  const int place = row * Layout::kPitch + chunk / 8 * Layout::kPanel + (chunk ^ row) % 8 * 16;
  *reinterpret_cast<uint4*>(reinterpret_cast<char*>(to) + place) = numbers;
}

// The tile's queries, times the scale.
template <int kRows, class Layout, int kThreads>
__device__ void load_queries(const AttentionArguments& a, const AttentionTile& tile, Bits16* to) {
  constexpr int kChunks = Layout::kDim / kChunk;
  for (int i = threadIdx.x; i < kRows * kChunks; i += kThreads) {
    const int row = i / kChunks;
    const int chunk = i % kChunks;
    uint4 packed{};
    if (tile.has(row)) packed = scaled_query(a, tile, row, chunk);
    store_query<Layout>(packed, row, chunk, to);
  }
}

// The same of kRows rows from `first` on, by kThreads threads, without branches and so with many
// loads under way: for tiles that are full as a rule. Rows beyond the last repeat it.
template <int kRows, class Layout, int kThreads>
__device__ void load_full_queries(const AttentionArguments& a, const AttentionTile& tile, int first,
                                  Bits16* to) {
  constexpr int kChunks = Layout::kDim / kChunk;
  const int last = tile.packed_rows - 1 - tile.first;
#pragma unroll 8
  for (int i = static_cast<int>(threadIdx.x) % kThreads; i < kRows * kChunks; i += kThreads) {
    const int row = first + i / kChunks;
    const int chunk = i % kChunks;
    store_query<Layout>(scaled_query(a, tile, min(row, last), chunk), row, chunk, to);
  }
}

// Copies tiles of keys and values from their pages. A thread copies parts of one row of every tile,
// so that it looks up one page a tile, a tile ahead of the copy.
template <int kKeys, int kThreads>
class PageReader {
 public:
  __device__ PageReader(const AttentionArguments& a, const AttentionTile& tile)
      : pages_(a.tables.pages + std::int64_t{tile.segment} * a.tables.page_stride),
        page_tokens_(static_cast<unsigned>(a.page_tokens)),
        kv_heads_(a.kv_heads),
        kv_head_(tile.kv_head),
        keys_(tile.keys),
        token_(tile.begin * kKeys + row()) {
    look_up();
  }

  // The row of the cache for this thread's token, or -1 beyond the last; then goes to the next
  // tile.
  __device__ int next() {
    const int current = cache_row_;
    token_ += kKeys;
    look_up();
    return current;
  }

  template <class Layout>
  __device__ static void copy(const Bits16* cache, int cache_row, Bits16* to) {
    constexpr int kTurns = Layout::kDim / kChunk / kPerRow;
    // Neighbouring rows begin at different chunks: eight lanes then write to all banks.
    const int r = row();
    const int twist = kPerRow == 2 ? (r % 4) ^ (r / 2 % 4) : kPerRow == 4 ? r % 2 : 0;
    static_assert(kPerRow > 4 || kTurns % (8 / kPerRow) == 0);
    // Where in 128 bytes this thread's first chunk is. Kept from the compiler, which would
    // otherwise keep every turn's addresses in registers that the results need.
    unsigned place =
        static_cast<unsigned>(twist * kPerRow + static_cast<int>(threadIdx.x) % kPerRow) * 16;
    asm volatile("" : "+r"(place));
    const bool valid = cache_row >= 0;
    const char* const from =
        reinterpret_cast<const char*>(cache + (valid ? std::int64_t{cache_row} * Layout::kDim : 0));
    const unsigned base = shared_address(to) + static_cast<unsigned>(r * Layout::kPitch);
    const unsigned shared_place = place ^ static_cast<unsigned>(r % 8) * 16;
#pragma unroll
    for (int i = 0; i < kTurns; ++i) {
      const unsigned panel = static_cast<unsigned>(i * kPerRow / 8);
      const unsigned turn = static_cast<unsigned>(i * kPerRow % 8) * 16;
      copy_async_or_zero(base + panel * Layout::kPanel + (shared_place ^ turn),
                         from + panel * 128 + (place ^ turn), valid);
    }
  }

 private:
  static constexpr int kPerRow = kThreads / kKeys;
  static_assert(kPerRow >= 2);

  __device__ static int row() {
    return static_cast<int>(threadIdx.x) / kPerRow;
  }
  __device__ void look_up() {
    if (token_ >= keys_) {
      cache_row_ = -1;
      return;
    }
    const auto token = static_cast<unsigned>(token_);
    const unsigned page = token / page_tokens_;
    cache_row_ = (pages_[page] * kv_heads_ + kv_head_) * static_cast<int>(page_tokens_) +
                 static_cast<int>(token - page * page_tokens_);
  }

  const int* pages_;
  unsigned page_tokens_;
  int kv_heads_, kv_head_, keys_;
  int token_;
  int cache_row_;  // 2^31 rows of 64 numbers are more than a device holds
};

// Where a row's results go: to `out` if there is one split, else to `partial`.
struct RowOutput {
  float* to = nullptr;  // nullptr: the row does not exist
  float factor = 1;

  template <int kValueDim>
  __device__ static RowOutput of(const AttentionArguments& a, const AttentionTile& tile, int row,
                                 const RowState& state, bool writes_limits) {
    if (!tile.has(row)) return {};
    const int token = tile.token(row);
    const int head = tile.head(row);
    if (a.part.splits == 1) {
      const std::int64_t index = std::int64_t{tile.first_row + token} * a.heads + head;
      return {a.out + index * a.out_stride, 1.0f / state.sum};
    }
    const std::int64_t index =
        tile.split * a.part.partial_rows + partial_row(a, tile.segment, token, head);
    if (writes_limits) a.limits[index] = {state.largest, state.sum};
    return {a.partial + index * kValueDim, 1.0f};
  }
  __device__ void store(int column, float first, float second) const {
    if (to != nullptr) *reinterpret_cast<float2*>(to + column) = {first * factor, second * factor};
  }
};

}  // namespace krasis::cuda
