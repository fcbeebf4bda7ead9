#include "cuda/delta_net_chunk.cuh"
#include "cuda/runtime.h"

namespace krasis::cuda {
namespace {

// One block walks the chunks of one segment for one value head and kColumns columns of V. Its warps
// divide the rows of the state, which they keep in F32, and for the rest the chunk's tokens in
// tiles of 16.
constexpr int kColumns = kDeltaColumns;
constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;
constexpr int kTokenTiles = kChunkTokens / 16;
constexpr int kSplits = kWarps / kTokenTiles;     // of the columns, between warps of a tile
constexpr int kTiles = kColumns / 8 / kSplits;    // 16 x 8 tiles of a warp's tokens
constexpr int kRowTiles = kKeyDim / 16 / kWarps;  // tiles down a warp's rows of the state
constexpr int kColumnTiles = kColumns / 8;        // and across them
constexpr int kKeyBlocks = kKeyDim / 8;
constexpr int kPairBlocks = kChunkTokens / 8;
constexpr int kColumnBlocks = kColumns / 8;
static_assert(kWarps % kTokenTiles == 0 && kTiles % 2 == 0);

// A chunk's matrices in shared memory; 16-byte copies leave them as they are in global memory.
struct Stage {
  __half keys[kKeyNumbers], queries[kKeyNumbers];
  __half solve[kPairNumbers], mix[kPairNumbers];
  float decay[kChunkTokens];
};

// What the warps pass each other, in blocks and scaled (see Scale).
struct Exchange {
  __half state[kKeyDim * kColumns];            // S0
  __half difference[kChunkTokens * kColumns];  // V - diag(gamma) K S0
  __half update[kChunkTokens * kColumns];      // U
  __half decayed[kChunkTokens * kColumns];     // U, decayed to the chunk's end
  float largest_state[kWarps], largest_value[kWarps];
};

// F16 holds 30 binades; which ones is chosen anew for each chunk, by a power of two that keeps
// everything below 2^15. For beta in [0, 2] each step of the rule shortens a column of the state
// before adding beta v k, and no entry is longer than its column, so that with |S| the largest
// entry of the state before the chunk
//   |U| and |S| at its end <= sqrt(key_dim) |S| + 64 max(beta) max|V| (+ max(beta) max|V| for U).
// The state of a chunk is known only when the numbers of the next are being scaled, hence two
// chunks' values.
struct Scale {
  float up = 1, down = 1;

  __device__ static Scale below(float bound) {
    constexpr int kBias = 127, kLargest = 14;  // bound < 2^(e + 1) becomes < 2^15
    const int exponent = static_cast<int>(__float_as_uint(bound) >> 23);
    const int clamped = min(max(exponent, 40), 230);  // both factors stay normal numbers
    return {__uint_as_float(static_cast<unsigned>(2 * kBias + kLargest - clamped) << 23),
            __uint_as_float(static_cast<unsigned>(clamped - kLargest) << 23)};
  }
};
constexpr float kColumnLength = 11.5F;                // > sqrt(key_dim)
constexpr float kGrowth = 2 * (kChunkTokens + 1.0F);  // of a column by one chunk, for |V| = 1

using Tokens = float[kTiles][4];  // a warp's tokens and columns
using State = float[kRowTiles * kColumnTiles][4];

struct Place {
  int warp, tile, split;  // tile of tokens, which of kSplits parts of the columns
  int row, column;        // of a lane's first number in an accumulator
};

__device__ Place place() {
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  return {warp, warp % kTokenTiles, warp / kTokenTiles, lane / 4, lane % 4 * 2};
}

template <int kTiles>
__device__ float largest(const float (&tiles)[kTiles][4]) {
  float found = 0;
#pragma unroll
  for (int n = 0; n < kTiles; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) found = fmaxf(found, fabsf(tiles[n][i]));
  }
  // The bits of numbers without a sign are in the numbers' order.
  return __uint_as_float(__reduce_max_sync(0xFFFFFFFFU, __float_as_uint(found)));
}

__device__ float largest_of(const float (&warps)[kWarps]) {
  float found = 0;
#pragma unroll
  for (int w = 0; w < kWarps; ++w) found = fmaxf(found, warps[w]);
  return found;
}

// Queues the copies of a chunk of the wave. The tiles above the diagonal stay behind.
__device__ void load_stage(const DeltaChunks& work, int index, int head, Stage& stage) {
  const int key_head = head / (work.value_heads / work.key_heads);
  const std::int64_t key = (std::int64_t{index} * work.key_heads + key_head) * kKeyNumbers;
  const std::int64_t pair = std::int64_t{index} * work.value_heads + head;
  const int thread = static_cast<int>(threadIdx.x);
  const auto copy = [](const auto* from, auto* to, int at) {
    copy_async(shared_address(to + at), from + at);
  };
#pragma unroll
  for (int i = 0; i < kKeyNumbers / 8 / kThreads; ++i) {
    const int at = (i * kThreads + thread) * 8;
    copy(work.matrices.keys + key, stage.keys, at);
    copy(work.matrices.queries + key, stage.queries, at);
  }
#pragma unroll
  for (int i = 0; i < kPairNumbers / 8 / kThreads; ++i) {
    const int at = (i * kThreads + thread) * 8;
    const int block = at / kBlockNumbers;
    if (block % kPairBlocks / 2 > block / kPairBlocks / 2) continue;
    copy(work.matrices.solve + pair * kPairNumbers, stage.solve, at);
    copy(work.matrices.mix + pair * kPairNumbers, stage.mix, at);
  }
  if (thread < kChunkTokens / 4)
    copy(work.matrices.decay + pair * kChunkTokens, stage.decay, thread * 4);
  copy_async_commit();
}

// Of V or out: two numbers of a lane's row `8 * down + row` of its tile.
struct Columns {
  std::int64_t first;  // column in the whole row
  const Place& where;

  __device__ std::int64_t at(std::int64_t row, std::int64_t stride, int tile) const {
    return row * stride + first + (where.split * kTiles + tile) * 8 + where.column;
  }
};

__device__ void load_values(const DeltaChunks& work, std::int64_t row, int count,
                            const Columns& columns, Tokens& values) {
#pragma unroll
  for (int n = 0; n < kTiles; ++n) {
#pragma unroll
    for (int down = 0; down < 2; ++down) {
      const int token = columns.where.tile * 16 + columns.where.row + 8 * down;
      float2 pair = {0, 0};
      if (token < count)
        pair = *reinterpret_cast<const float2*>(work.v + columns.at(row + token, work.v_stride, n));
      values[n][2 * down] = pair.x;
      values[n][2 * down + 1] = pair.y;
    }
  }
}

__device__ void store_outputs(const DeltaChunks& work, std::int64_t row, int count,
                              const Columns& columns, const Tokens& out, float factor) {
#pragma unroll
  for (int n = 0; n < kTiles; ++n) {
#pragma unroll
    for (int down = 0; down < 2; ++down) {
      const int token = columns.where.tile * 16 + columns.where.row + 8 * down;
      if (token >= count) continue;
      *reinterpret_cast<float2*>(work.out + columns.at(row + token, work.out_stride, n)) = {
          out[n][2 * down] * factor, out[n][2 * down + 1] * factor};
    }
  }
}

__device__ void multiply_by(Tokens& tiles, float upper, float lower) {
#pragma unroll
  for (int n = 0; n < kTiles; ++n) {
    tiles[n][0] *= upper;
    tiles[n][1] *= upper;
    tiles[n][2] *= lower;
    tiles[n][3] *= lower;
  }
}

// K S0 and Q S0 of the warp's tokens and columns.
__device__ void apply_state(const Stage& stage, const Exchange& exchange, const Place& where,
                            Tokens& by_keys, Tokens& by_queries) {
#pragma unroll
  for (int k = 0; k < kKeyDim / 16; ++k) {
    unsigned key[4], query[4];
    load_matrices(quad_address<Second::Down>(stage.keys, kKeyBlocks, where.tile, k), key);
    load_matrices(quad_address<Second::Down>(stage.queries, kKeyBlocks, where.tile, k), query);
#pragma unroll
    for (int n = 0; n < kTiles; n += 2) {
      unsigned state[4];
      load_transposed(quad_address<Second::Down>(exchange.state, kColumnBlocks, k,
                                                 (where.split * kTiles + n) / 2),
                      state);
      multiply_f16(by_keys[n], key, state[0], state[1]);
      multiply_f16(by_keys[n + 1], key, state[2], state[3]);
      multiply_f16(by_queries[n], query, state[0], state[1]);
      multiply_f16(by_queries[n + 1], query, state[2], state[3]);
    }
  }
}

// out += pairs x operand, pairs lower triangular [tokens, tokens], operand [tokens, columns].
__device__ void apply_pairs(const __half* pairs, const __half* operand, const Place& where,
                            Tokens& out) {
#pragma unroll
  for (int k = 0; k < kTokenTiles; ++k) {
    if (k > where.tile) break;
    unsigned a[4];
    load_matrices(quad_address<Second::Down>(pairs, kPairBlocks, where.tile, k), a);
#pragma unroll
    for (int n = 0; n < kTiles; n += 2) {
      unsigned b[4];
      load_transposed(
          quad_address<Second::Down>(operand, kColumnBlocks, k, (where.split * kTiles + n) / 2), b);
      multiply_f16(out[n], a, b[0], b[1]);
      multiply_f16(out[n + 1], a, b[2], b[3]);
    }
  }
}

// S = decay * S + K^T (U decayed)
__device__ void update_state(const Stage& stage, const Exchange& exchange, const Place& where,
                             float decay, State& state) {
#pragma unroll
  for (auto& tile : state) {
#pragma unroll
    for (float& number : tile) number *= decay;
  }
#pragma unroll
  for (int k = 0; k < kTokenTiles; ++k) {
    unsigned keys[kRowTiles][4];  // transposed: the block to the right in K is the one below
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
      load_transposed(
          quad_address<Second::Right>(stage.keys, kKeyBlocks, k, where.warp * kRowTiles + r),
          keys[r]);
    }
#pragma unroll
    for (int n = 0; n < kColumnTiles; n += 2) {
      unsigned update[4];
      load_transposed(quad_address<Second::Down>(exchange.decayed, kColumnBlocks, k, n / 2),
                      update);
#pragma unroll
      for (int r = 0; r < kRowTiles; ++r) {
        multiply_f16(state[r * kColumnTiles + n], keys[r], update[0], update[1]);
        multiply_f16(state[r * kColumnTiles + n + 1], keys[r], update[2], update[3]);
      }
    }
  }
}

// Two numbers of tile `tile` of a warp's state in its slot, as a lane sees them.
__device__ float2* state_pair(const DeltaChunks& work, int segment, int head, const Place& where,
                              int tile, int down) {
  const std::int64_t row =
      (where.warp * kRowTiles + tile / kColumnTiles) * 16 + where.row + 8 * down;
  const std::int64_t matrix = std::int64_t{work.tables.slot[segment]} * work.value_heads + head;
  float* at = work.state + (matrix * kKeyDim + row) * work.value_dim +
              static_cast<std::int64_t>(blockIdx.x) * kColumns + tile % kColumnTiles * 8 +
              where.column;
  return reinterpret_cast<float2*>(at);
}

__device__ void load_state(const DeltaChunks& work, int segment, int head, const Place& where,
                           State& state) {
#pragma unroll
  for (int n = 0; n < kRowTiles * kColumnTiles; ++n) {
#pragma unroll
    for (int down = 0; down < 2; ++down) {
      const float2 pair = *state_pair(work, segment, head, where, n, down);
      state[n][2 * down] = pair.x;
      state[n][2 * down + 1] = pair.y;
    }
  }
}

__device__ void store_state(const DeltaChunks& work, int segment, int head, const Place& where,
                            const State& state, float factor) {
#pragma unroll
  for (int n = 0; n < kRowTiles * kColumnTiles; ++n) {
#pragma unroll
    for (int down = 0; down < 2; ++down) {
      *state_pair(work, segment, head, where, n, down) = {state[n][2 * down] * factor,
                                                          state[n][2 * down + 1] * factor};
    }
  }
}

// Multiplies the state by `factor` and hands it to all warps in F16.
__device__ void publish_state(const Place& where, float factor, State& state, Exchange& exchange) {
#pragma unroll
  for (int n = 0; n < kRowTiles * kColumnTiles; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) state[n][i] *= factor;
    store_tile(exchange.state, kColumnBlocks, where.warp * kRowTiles + n / kColumnTiles,
               n % kColumnTiles, state[n]);
  }
}

// From K S0 to U, through shared memory, with the factors of a lane's two rows.
struct Decays {
  float start[2], end[2];  // from the chunk's start to the row, from the row to the chunk's end
  float whole;
};

__device__ Decays decays_of(const Stage& stage, const Place& where) {
  const float last = stage.decay[kChunkTokens - 1];
  const float upper = stage.decay[where.tile * 16 + where.row];
  const float lower = stage.decay[where.tile * 16 + where.row + 8];
  return {
      {__expf(upper), __expf(lower)}, {__expf(last - upper), __expf(last - lower)}, __expf(last)};
}

// difference = scale V - diag(gamma) K S0
__device__ void store_difference(const Place& where, const Tokens& values, float scale,
                                 const Decays& decays, Tokens& by_keys, Exchange& exchange) {
#pragma unroll
  for (int n = 0; n < kTiles; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i)
      by_keys[n][i] = values[n][i] * scale - decays.start[i / 2] * by_keys[n][i];
    store_tile(exchange.difference, kColumnBlocks, where.tile, where.split * kTiles + n,
               by_keys[n]);
  }
}

__device__ void store_update(const Place& where, const Decays& decays, Tokens& update,
                             Exchange& exchange) {
#pragma unroll
  for (int n = 0; n < kTiles; ++n)
    store_tile(exchange.update, kColumnBlocks, where.tile, where.split * kTiles + n, update[n]);
  multiply_by(update, decays.end[0], decays.end[1]);
#pragma unroll
  for (int n = 0; n < kTiles; ++n)
    store_tile(exchange.decayed, kColumnBlocks, where.tile, where.split * kTiles + n, update[n]);
}

__device__ void store_largest(const Place& where, float state, float values, Exchange& exchange) {
  if (threadIdx.x % kWarp != 0) return;
  exchange.largest_state[where.warp] = state;
  exchange.largest_value[where.warp] = values;
}

__device__ void copy_tokens(const Tokens& from, Tokens& to) {
#pragma unroll
  for (int n = 0; n < kTiles; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) to[n][i] = from[n][i];
  }
}

// The block's chunks within the wave.
struct Walk {
  int segment, head;
  int begin, end;          // chunks of the segment
  int first;               // number of the segment's chunk 0
  std::int64_t first_row;  // of the segment
  int rows;                // of the segment

  __device__ std::int64_t row(int chunk) const {
    return first_row + std::int64_t{chunk} * kChunkTokens;
  }
  __device__ int count(int chunk) const {  // tokens; <= 0 beyond the end
    return chunk < end ? min(rows - chunk * kChunkTokens, kChunkTokens) : 0;
  }
};

__device__ Walk walk_of(const DeltaChunks& work) {
  const int segment = static_cast<int>(blockIdx.z);
  const int rows = work.tables.rows[segment];
  const int first = first_chunk(work.tables, segment, kChunkTokens);
  const int chunks = rows > kStepRows ? (rows + kChunkTokens - 1) / kChunkTokens : 0;
  return {.segment = segment,
          .head = static_cast<int>(blockIdx.y),
          .begin = max(0, work.first_chunk - first),
          .end = min(chunks, work.end_chunk - first),
          .first = first,
          .first_row = work.tables.first_row[segment],
          .rows = rows};
}

// kStages = 2 copies a chunk while the one before is computed, 1 takes half the shared memory.
template <int kStages>
__global__ void __launch_bounds__(kThreads, 1) scan(DeltaChunks work) {
  extern __shared__ __align__(128) unsigned char shared[];
  auto* stages = reinterpret_cast<Stage*>(shared);
  auto& exchange = *reinterpret_cast<Exchange*>(stages + kStages);
  const Walk walk = walk_of(work);
  if (walk.begin >= walk.end) return;
  const auto load = [&](int chunk) {
    load_stage(work, walk.first + chunk - work.first_chunk, walk.head, stages[chunk % kStages]);
  };
  load(walk.begin);
  const Place where = place();
  const Columns columns = {std::int64_t{walk.head} * work.value_dim + blockIdx.x * kColumns, where};
  State state = {};
  if (walk.begin > 0 || work.tables.past[walk.segment] > 0)
    load_state(work, walk.segment, walk.head, where, state);
  Tokens values, next_values;
  load_values(work, walk.row(walk.begin), walk.count(walk.begin), columns, values);
  load_values(work, walk.row(walk.begin + 1), walk.count(walk.begin + 1), columns, next_values);
  store_largest(where, largest(state), largest(values), exchange);
  __syncthreads();
  float largest_value = largest_of(exchange.largest_value);
  Scale scale =
      Scale::below(kColumnLength * largest_of(exchange.largest_state) + kGrowth * largest_value);
  publish_state(where, scale.up, state, exchange);

  const float query_scale = rsqrtf(static_cast<float>(kKeyDim));
#pragma unroll 1
  for (int chunk = walk.begin; chunk < walk.end; ++chunk) {
    const Stage& stage = stages[chunk % kStages];
    copy_async_wait<0>();
    __syncthreads();  // stage and state are there; everyone is done with the chunk before
    if (kStages > 1 && chunk + 1 < walk.end) load(chunk + 1);
    Tokens later_values;
    load_values(work, walk.row(chunk + 2), walk.count(chunk + 2), columns, later_values);

    Tokens by_keys = {}, by_queries = {}, update = {};
    apply_state(stage, exchange, where, by_keys, by_queries);
    const Decays decays = decays_of(stage, where);
    store_difference(where, values, scale.up, decays, by_keys, exchange);
    store_largest(where, largest(state), largest(next_values), exchange);
    __syncthreads();
    apply_pairs(stage.solve, exchange.difference, where, update);
    store_update(where, decays, update, exchange);
    __syncthreads();
    multiply_by(by_queries, decays.start[0], decays.start[1]);
    apply_pairs(stage.mix, exchange.update, where, by_queries);
    store_outputs(work, walk.row(chunk), walk.count(chunk), columns, by_queries,
                  scale.down * query_scale);
    update_state(stage, exchange, where, decays.whole, state);

    const float next_largest = largest_of(exchange.largest_value);
    const Scale next =
        Scale::below(kColumnLength * largest_of(exchange.largest_state) * scale.down +
                     kGrowth * (largest_value + next_largest));
    publish_state(where, next.up * scale.down, state, exchange);
    scale = next;
    largest_value = next_largest;
    copy_tokens(next_values, values);
    copy_tokens(later_values, next_values);
    if (kStages == 1 && chunk + 1 < walk.end) {
      __syncthreads();
      load(chunk + 1);
    }
  }
  store_state(work, walk.segment, walk.head, where, state, scale.down);
}

template <int kStages>
void launch_scan(const DeltaChunks& work, const Launch& launch) {
  constexpr std::size_t kBytes = kStages * sizeof(Stage) + sizeof(Exchange);
  check(cudaFuncSetAttribute(scan<kStages>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(kBytes)),
        "asking for shared memory for delta_net");
  const dim3 grid(static_cast<unsigned>(work.value_dim / kColumns),
                  static_cast<unsigned>(work.value_heads),
                  static_cast<unsigned>(work.tables.segments));
  scan<kStages><<<grid, kThreads, kBytes, launch.stream>>>(work);
  check_launch("delta_net scan");
}

}  // namespace

void scan_chunks(const DeltaChunks& work, const Launch& launch) {
  if (launch.device.shared_bytes >= 2 * sizeof(Stage) + sizeof(Exchange)) {
    launch_scan<2>(work, launch);
  } else {
    launch_scan<1>(work, launch);
  }
}

}  // namespace krasis::cuda
