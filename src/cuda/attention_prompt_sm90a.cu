// Attention of many rows on Hopper. Each of two warp groups owns 64 packed rows; a third copies
// tiles of keys and values from their pages to shared memory, ahead of the others. The tensor cores
// read both from there; weights never leave the registers of their group. The two groups are not
// bound to each other: while one turns scores into weights, the tensor cores work for the other
// (Shah et al. 2024, https://arxiv.org/abs/2407.08608).
#include "cuda/attention_parts.cuh"
#include "cuda/runtime.h"
#include "cuda/shared_barrier.cuh"
#include "cuda/shared_products.cuh"

namespace krasis::cuda {
namespace {

constexpr int kGroupThreads = 4 * kWarp;
constexpr int kGroupRows = 64;
constexpr int kRows = 2 * kGroupRows;
constexpr int kThreads = 3 * kGroupThreads;
constexpr int kReaderThreads = kGroupThreads / 2;  // of keys; as many of values
constexpr int kStages = 2;
// Three threads, one of each group, share the 504 registers that kThreads leaves them.
constexpr int kReaderRegisters = 40;
constexpr int kGroupRegisters = 232;

// Of a thread's registers results take ValueDim / 2, scores and weights Keys * 3 / 4.
template <int KeyDim, int ValueDim, int Keys>
struct HopperTile {
  static constexpr int kKeyDim = KeyDim;
  static constexpr int kValueDim = ValueDim;
  static constexpr int kKeys = Keys;
  static constexpr int kParts = kValueDim / 128;  // of the results: what one product computes
  using QueryLayout = PanelLayout<kKeyDim, kRows>;
  using KeyLayout = PanelLayout<kKeyDim, kKeys>;
  using ValueLayout = PanelLayout<kValueDim, kKeys>;
};

// The block's shared memory: queries, stages of keys and of values, barriers.
template <class T>
class SharedTiles {
 public:
  // What a stage's barriers wait for.
  enum Event { KeysThere, KeysDone, ValuesThere, ValuesDone };

  __device__ explicit SharedTiles(const void* shared) : queries_(shared_address(shared)) {}

  __device__ void init() const {
    for (int i = 0; i < kStages; ++i) {
      for (const Event there : {KeysThere, ValuesThere}) {
        init_barrier(barrier(there, i), kReaderThreads);
        init_barrier(barrier(done(there), i), 2 * kGroupThreads / kWarp);
      }
    }
  }

  __device__ static Event done(Event there) { return static_cast<Event>(there + 1); }
  __device__ unsigned queries() const { return queries_; }
  // Tile i of those that this block uses.
  __device__ unsigned keys(int i) const { return queries_ + kKeysAt + i % kStages * kKeyBytes; }
  __device__ unsigned values(int i) const {
    return queries_ + kValuesAt + i % kStages * kValueBytes;
  }
  __device__ void wait(Event event, int i) const {
    wait_at(barrier(event, i), static_cast<unsigned>(i / kStages) % 2);
  }
  // Until tile i's place is free.
  __device__ void wait_for_place(Event there, int i) const {
    wait_at(barrier(done(there), i), static_cast<unsigned>(i / kStages + 1) % 2);
  }
  __device__ void arrive(Event event, int i) const { arrive_at(barrier(event, i)); }

 private:
  static constexpr unsigned kKeyBytes = T::kKeys * T::kKeyDim * sizeof(Bits16);
  static constexpr unsigned kValueBytes = T::kKeys * T::kValueDim * sizeof(Bits16);
  static constexpr unsigned kKeysAt = kRows * T::kKeyDim * sizeof(Bits16);
  static constexpr unsigned kValuesAt = kKeysAt + kStages * kKeyBytes;
  static constexpr unsigned kBarriersAt = kValuesAt + kStages * kValueBytes;

  __device__ unsigned barrier(Event event, int i) const {
    return queries_ + kBarriersAt + static_cast<unsigned>(event * kStages + i % kStages) * 8;
  }

  unsigned queries_;

 public:
  static constexpr std::size_t kBytes = kBarriersAt + std::size_t{4} * kStages * 8;
};

// Half of the rows of tiles, copied by one warp, four rows of 128 bytes at a time.
template <int kDim, int kKeys>
class HalfTileReader {
 public:
  __device__ HalfTileReader(const AttentionArguments& a, const AttentionTile& tile, int half)
      : pages_(a.tables.pages + std::int64_t{tile.segment} * a.tables.page_stride),
        page_tokens_(static_cast<unsigned>(a.page_tokens)),
        kv_heads_(a.kv_heads),
        kv_head_(tile.kv_head),
        keys_(tile.keys),
        lane_(static_cast<int>(threadIdx.x) % kWarp),
        first_(half * kOwn) {}

  // Finds the tile's rows in the cache: well before copy() needs them.
  __device__ void look_up(int tile) {
#pragma unroll
    for (int i = 0; i < kLookUps; ++i) {
      const int own = i * kWarp + lane_;
      const int token = tile * kKeys + first_ + own;
      cache_rows_[i] = -1;
      if (own >= kOwn || token >= keys_) continue;
      const unsigned page = static_cast<unsigned>(token) / page_tokens_;
      cache_rows_[i] = (pages_[page] * kv_heads_ + kv_head_) * static_cast<int>(page_tokens_) +
                       static_cast<int>(static_cast<unsigned>(token) - page * page_tokens_);
    }
  }

  // Rows beyond the last key become zeros.
  __device__ void copy(const Bits16* cache, unsigned to) const {
    using Layout = PanelLayout<kDim, kKeys>;
    const int chunk = lane_ % 8;
    const int row = lane_ / 8;  // of four
    const unsigned base = to + static_cast<unsigned>((first_ + row) * Layout::kPitch);
    const unsigned place = static_cast<unsigned>(chunk ^ row) * 16;
#pragma unroll
    for (int i = 0; i < kOwn / 4; ++i) {
      const int cache_row = __shfl_sync(~0u, cache_rows_[i / 8], i % 8 * 4 + row);
      const bool exists = cache_row >= 0;
      const Bits16* const from =
          cache + (exists ? std::int64_t{cache_row} * kDim : 0) + chunk * kChunk;
      const unsigned at = base + static_cast<unsigned>(i * 4 * Layout::kPitch);
#pragma unroll
      for (int panel = 0; panel < kDim / 64; ++panel) {
        const auto panel_at = static_cast<unsigned>(panel * Layout::kPanel);
        copy_async_or_zero(at + panel_at + (place ^ static_cast<unsigned>(i % 2 * 64)),
                           from + panel * 64, exists);
      }
    }
  }

 private:
  static constexpr int kOwn = kKeys / 2;
  static constexpr int kLookUps = (kOwn + kWarp - 1) / kWarp;
  static_assert(kOwn % 8 == 0);

  const int* pages_;
  unsigned page_tokens_;
  int kv_heads_, kv_head_, keys_, lane_;
  int first_;  // of the tile's rows
  int cache_rows_[kLookUps];
};

// What a thread of the group that reads does.
template <class T, int kDim>
__device__ void read_tiles(const AttentionArguments& a, const AttentionTile& tile,
                           const SharedTiles<T>& shared, bool of_values) {
  using Shared = SharedTiles<T>;
  const auto there = of_values ? Shared::ValuesThere : Shared::KeysThere;
  const int half = static_cast<int>(threadIdx.x) % kReaderThreads / kWarp;
  HalfTileReader<kDim, T::kKeys> reader(a, tile, half);
  reader.look_up(tile.begin);
  for (int i = 0; i < tile.end - tile.begin; ++i) {
    shared.wait_for_place(there, i);
    reader.copy(of_values ? a.values : a.keys, of_values ? shared.values(i) : shared.keys(i));
    reader.look_up(tile.begin + i + 1);
    copy_async_commit();
    copy_async_wait<0>();
    publish_shared();
    shared.arrive(there, i);
  }
}

template <class T>
using Scores = float[T::kKeys / 8][4];
template <class T>
using Weights = unsigned[T::kKeys / 16][4];

// One of the groups that compute.
template <class T>
struct Group {
  const AttentionTile& tile;
  const SharedTiles<T>& shared;
  int number, lane;
  int row;  // in the block, of this lane's first row; the other is 8 on
  float out[T::kParts][16][4] = {};
  RowState state[2] = {};
  float factors[2];  // what the results so far are to be multiplied by

  __device__ void arrive(typename SharedTiles<T>::Event event, int i) const {
    if (lane == 0) shared.arrive(event, i);
  }
  __device__ void hold_results() {
#pragma unroll
    for (auto& part : out) hold(part);
  }
};

// Starts scores = queries keys^T.
template <class T>
__device__ void multiply_keys(const Group<T>& group, Scores<T>& scores, int i) {
  group.shared.wait(SharedTiles<T>::KeysThere, i);
  const SharedOperand a =
      swizzled_operand(group.shared.queries() + warp_group() * kGroupRows * T::QueryLayout::kPitch);
  const SharedOperand b = swizzled_operand(group.shared.keys(i));
  hold(scores);
  group_fence();
#pragma unroll
  for (int k = 0; k < T::kKeyDim / 16; ++k) {
    const auto panel = static_cast<unsigned>(k / 4);
    const unsigned at = static_cast<unsigned>(k % 4) * 32;
    multiply_rows(scores, further(a, panel * T::QueryLayout::kPanel + at),
                  further(b, panel * T::KeyLayout::kPanel + at), k != 0);
  }
  group_commit();
}

// Starts out += weights values.
template <class T>
__device__ void multiply_values(Group<T>& group, const Weights<T>& weights, int i) {
  group.shared.wait(SharedTiles<T>::ValuesThere, i);
  const SharedOperand b =
      across_panels(swizzled_operand(group.shared.values(i)), T::ValueLayout::kPanel);
  group.hold_results();
  group_fence();
#pragma unroll
  for (int k = 0; k < T::kKeys / 16; ++k) {
#pragma unroll
    for (int part = 0; part < T::kParts; ++part) {
      const auto at = static_cast<unsigned>(k * 16 * T::ValueLayout::kPitch +
                                            part * 2 * T::ValueLayout::kPanel);
      multiply_columns(group.out[part], weights[k], further(b, at));
    }
  }
  group_commit();
}

// Takes out the keys after each row's own position.
template <class T>
__device__ void mask(const Group<T>& group, Scores<T>& scores, int first_key) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int last = group.tile.position(group.row + r * 8) - first_key - group.lane % 4 * 2;
#pragma unroll
    for (int n = 0; n < T::kKeys / 8; ++n) {
      if (n * 8 > last) scores[n][2 * r] = kNoScore;
      if (n * 8 + 1 > last) scores[n][2 * r + 1] = kNoScore;
    }
  }
}

// Takes the scores of tile i into account for the rows' largest.
template <class T>
__device__ void raise(Group<T>& group, Scores<T>& scores, int i) {
  // Weights may be as large as 2^kSlack, so that results are seldom scaled: none of their digits
  // are lost.
  constexpr float kSlack = 8;
  const int first_key = (group.tile.begin + i) * T::kKeys;
  if (first_key + T::kKeys > group.tile.seen_by_all) mask(group, scores, first_key);
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float largest = kNoScore;
#pragma unroll
    for (int n = 0; n < T::kKeys / 8; ++n)
      largest = fmaxf(largest, fmaxf(scores[n][2 * r], scores[n][2 * r + 1]));
    largest = largest_of_four(largest);
    RowState& state = group.state[r];
    group.factors[r] = largest > state.largest + kSlack ? state.raise(largest) : 1.0f;
  }
}

template <class T>
__device__ void weigh(Group<T>& group, const Scores<T>& scores, Weights<T>& weights) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    RowState& state = group.state[r];
    const float base = state.base();
#pragma unroll
    for (int n = 0; n < T::kKeys / 8; ++n) {
      const float first = power_of_two(scores[n][2 * r] - base);
      const float second = power_of_two(scores[n][2 * r + 1] - base);
      state.sum += first + second;
      weights[n / 2][n % 2 * 2 + r] = pack_bf16(first, second);
    }
  }
}

template <class T>
__device__ void write(Group<T>& group, const AttentionArguments& a) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    RowState& state = group.state[r];
    state.sum = sum_of_four(state.sum);
    const RowOutput out =
        RowOutput::of<T::kValueDim>(a, group.tile, group.row + r * 8, state, group.lane % 4 == 0);
#pragma unroll
    for (int part = 0; part < T::kParts; ++part) {
#pragma unroll
      for (int n = 0; n < 16; ++n) {
        out.store(part * 128 + n * 8 + group.lane % 4 * 2, group.out[part][n][2 * r],
                  group.out[part][n][2 * r + 1]);
      }
    }
  }
}

// What a group that computes does.
template <class T>
__device__ void attend(const AttentionArguments& a, const AttentionTile& tile, Bits16* memory,
                       const SharedTiles<T>& shared) {
  using Shared = SharedTiles<T>;
  const auto thread = static_cast<int>(threadIdx.x);
  Group<T> group{.tile = tile,
                 .shared = shared,
                 .number = static_cast<int>(warp_group()),
                 .lane = thread % kWarp,
                 .row = thread / kWarp * 16 + thread % kWarp / 4};
  load_full_queries<kGroupRows, typename T::QueryLayout, kGroupThreads>(
      a, tile, group.number * kGroupRows, memory);
  publish_shared();
  wait_at_named(1 + group.number, kGroupThreads);

  Scores<T> scores;
  Weights<T> weights;
  multiply_keys(group, scores, 0);
  group_wait<0>();
  hold(scores);
  group.arrive(Shared::KeysDone, 0);
  raise(group, scores, 0);
  weigh<T>(group, scores, weights);
  const int last = tile.end - tile.begin - 1;
#pragma unroll 1
  for (int i = 0; i < last; ++i) {
    multiply_keys(group, scores, i + 1);
    multiply_values(group, weights, i);
    group_wait<1>();
    hold(scores);
    group.arrive(Shared::KeysDone, i + 1);
    // While the values are being added up. Without a branch behind it the compiler would wait for
    // them first.
    raise(group, scores, i + 1);
    if (scale_is_needed(group.factors)) {
      group_wait<0>();
      group.hold_results();
#pragma unroll
      for (auto& part : group.out) scale_rows(part, group.factors);
    }
    group_wait<0>();
    group.hold_results();
    group.arrive(Shared::ValuesDone, i);
    weigh<T>(group, scores, weights);
  }
  multiply_values(group, weights, last);
  group_wait<0>();
  group.hold_results();
  write(group, a);
}

template <class T>
__global__ void __launch_bounds__(kThreads, 1) prompt_rows(const AttentionArguments a) {
  extern __shared__ __align__(1024) Bits16 memory[];
  AttentionTile tile;
  if (!find_tile<kRows, T::kKeys>(a, tile)) return;
  const SharedTiles<T> shared(memory);
  if (threadIdx.x == 0) shared.init();
  __syncthreads();
  if (warp_group() < 2) {
    take_registers<kGroupRegisters>();
    attend(a, tile, memory, shared);
    return;
  }
  give_registers<kReaderRegisters>();
  if (threadIdx.x % kGroupThreads < kReaderThreads) {
    read_tiles<T, T::kKeyDim>(a, tile, shared, false);
  } else {
    read_tiles<T, T::kValueDim>(a, tile, shared, true);
  }
}

template <class T>
void launch(const AttentionArguments& a, cudaStream_t stream) {
  constexpr std::size_t kSharedBytes = SharedTiles<T>::kBytes;
  check(cudaFuncSetAttribute(prompt_rows<T>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(kSharedBytes)),
        "asking for the shared memory of attention");
  const dim3 grid(static_cast<unsigned>(a.part.row_tiles * a.kv_heads * a.part.splits),
                  static_cast<unsigned>(a.tables.segments));
  prompt_rows<T><<<grid, kThreads, kSharedBytes, stream>>>(a);
  check_launch("attention of a prompt");
}

}  // namespace

void attention_prompt_hopper(const AttentionArguments& arguments, int dim, cudaStream_t stream) {
  if (dim == 128) return launch<HopperTile<128, 128, 128>>(arguments, stream);
  return launch<HopperTile<256, 256, 80>>(arguments, stream);
}

}  // namespace krasis::cuda
