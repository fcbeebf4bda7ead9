#include <algorithm>

#include "cuda/conv_taps.cuh"
#include "cuda/delta_net_chunk.cuh"
#include "cuda/runtime.h"

namespace krasis::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarp;
constexpr int kSolvers = 2;                      // warps that solve one value head
constexpr int kHeadsAtOnce = kWarps / kSolvers;  // value heads of a block
constexpr int kHalf = kChunkTokens / kSolvers;   // tokens of a warp that solves, one a lane
constexpr int kPitch = kHalf + 4;                // rows of 16 bytes, without bank conflicts
constexpr int kKeyBlocks = kKeyDim / 8;          // blocks in a row of keys
constexpr int kPairBlocks = kChunkTokens / 8;
constexpr int kHalfBlocks = kHalf / 8;
constexpr float kLeastLogDecay = -100;  // its exponential is zero; keeps sums of it exact enough

// With I + L = [[A, 0], [C, B]] in halves, T = [[1/A, 0], [-(1/B) C (1/A), 1/B]]. F16 matrices in
// blocks.
struct Solver {
  float lower[kSolvers][kHalf * kPitch];    // A - I, B - I, transposed
  __half corner[kHalf * kHalf];             // C
  __half product[kHalf * kHalf];            // C (1/A) diag(beta)
  __half inverse[kSolvers][kHalf * kHalf];  // (1/A) diag(beta), 1/B
};

// Eight convolved rows of a warp on their way from rows to blocks, without bank conflicts.
constexpr int kStagePitch = kKeyDim + 8;
using ConvStage = __half[8 * kStagePitch];

constexpr std::size_t kKeyBytes = 2 * kKeyNumbers * sizeof(__half);
constexpr std::size_t kSharedBytes =
    std::max(kHeadsAtOnce * sizeof(Solver), kKeyBytes + kWarps * sizeof(ConvStage));

// Accumulators of a warp's 16 tokens against all 64.
using PairTiles = float[kPairBlocks][4];

__device__ float sum_of_squares(const float4& a) {
  return a.x * a.x + a.y * a.y + a.z * a.z + a.w * a.w;
}

__device__ uint4 packed(const float4& a, const float4& b, float scale) {
  const __half2 pairs[4] = {
      __floats2half2_rn(a.x * scale, a.y * scale), __floats2half2_rn(a.z * scale, a.w * scale),
      __floats2half2_rn(b.x * scale, b.y * scale), __floats2half2_rn(b.z * scale, b.w * scale)};
  return *reinterpret_cast<const uint4*>(pairs);
}

// Normalises the rows of one head and writes them in blocks to shared and global memory. Lanes 0-7
// take the rows of a block, so that they write 128 consecutive bytes.
__device__ void normalise(const float* rows, std::int64_t stride, int count, __half* shared,
                          __half* global) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int part = lane / 8;
  for (int group = static_cast<int>(threadIdx.x) / kWarp; group < kChunkTokens / 8;
       group += kWarps) {
    const int row = group * 8 + lane % 8;
    float4 numbers[4][2] = {};
    if (row < count) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const auto* at = reinterpret_cast<const float4*>(rows + row * stride + (part + 4 * i) * 8);
        numbers[i][0] = at[0];
        numbers[i][1] = at[1];
      }
    }
    float sum = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i)
      sum += sum_of_squares(numbers[i][0]) + sum_of_squares(numbers[i][1]);
    sum += __shfl_xor_sync(0xFFFFFFFFU, sum, 8);
    sum += __shfl_xor_sync(0xFFFFFFFFU, sum, 16);
    const float scale = rsqrtf(sum + 1e-6F);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int at = (group * kKeyBlocks + part + 4 * i) * kBlockNumbers + lane % 8 * 8;
      const uint4 numbers16 = packed(numbers[i][0], numbers[i][1], scale);
      *reinterpret_cast<uint4*>(shared + at) = numbers16;
      *reinterpret_cast<uint4*>(global + at) = numbers16;
    }
  }
}

// Inputs of a convolution: rows of one head from a chunk's first on.
struct ConvRows {
  const float* data;
  std::int64_t stride;
  int count;            // of the chunk
  int begin;            // of the chunk in its segment
  const float* before;  // the three rows before the segment; nullptr: zeros
  std::int64_t before_stride;

  // Four channels of row `index` of the chunk, zeros past its end.
  __device__ float4 load(int index, int channel) const {
    const float* row = data + index * stride;
    if (index >= count) return {};
    if (begin + index < 0) {
      if (before == nullptr) return {};
      row = before + (kTaps - 1 + begin + index) * before_stride;
    }
    return *reinterpret_cast<const float4*>(row + channel);
  }
};

__device__ ConvRows conv_rows(const DeltaChunks& work, const Chunk& chunk, const float* from,
                              std::int64_t stride, const KeyTaps& taps) {
  const StepTables& tables = work.tables;
  const std::int64_t slot = tables.slot[chunk.segment];
  const bool is_fresh = tables.past[chunk.segment] == 0;
  return {.data = from + (tables.first_row[chunk.segment] + chunk.begin) * stride,
          .stride = stride,
          .count = chunk.rows,
          .begin = chunk.begin,
          .before = is_fresh ? nullptr : taps.before + slot * (kTaps - 1) * taps.channels,
          .before_stride = taps.channels};
}

// normalise() of convolved rows. `channel`: the head's first. A warp takes rows that follow each
// other, a lane four channels.
__device__ void convolve(const ConvRows& from, const float* weight, int channel, ConvStage& stage,
                         __half* shared, __half* global) {
  constexpr int kWarpRows = kChunkTokens / kWarps;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int first = static_cast<int>(threadIdx.x) / kWarp * kWarpRows;
  channel += 4 * lane;
  float4 taps[kTaps];
  load_taps(weight + channel * kTaps, taps);
  float4 rows[kTaps - 1 + 8];
#pragma unroll
  for (int i = 0; i < kTaps - 1; ++i) rows[i] = from.load(first + i - (kTaps - 1), channel);
  for (int begin = first; begin < first + kWarpRows; begin += 8) {
#pragma unroll
    for (int i = 0; i < 8; ++i) rows[kTaps - 1 + i] = from.load(begin + i, channel);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const float4 row = convolved(taps, rows[i], rows[i + 1], rows[i + 2], rows[i + 3]);
      float sum = sum_of_squares(row);
#pragma unroll
      for (int distance = 1; distance < kWarp; distance *= 2)
        sum += __shfl_xor_sync(0xFFFFFFFFU, sum, distance);
      const float scale = rsqrtf(sum + 1e-6F);
      const bool exists = begin + i < from.count;
      const __half2 pairs[2] = {__floats2half2_rn(row.x * scale, row.y * scale),
                                __floats2half2_rn(row.z * scale, row.w * scale)};
      *reinterpret_cast<uint2*>(stage + i * kStagePitch + 4 * lane) =
          exists ? *reinterpret_cast<const uint2*>(pairs) : uint2{};
    }
    __syncwarp();
#pragma unroll
    for (int at = lane; at < 8 * kKeyBlocks; at += kWarp) {
      const int block = at / 8;
      const uint4 numbers =
          *reinterpret_cast<const uint4*>(stage + at % 8 * kStagePitch + block * 8);
      const int to = (begin / 8 * kKeyBlocks + block) * kBlockNumbers + at % 8 * 8;
      *reinterpret_cast<uint4*>(shared + to) = numbers;
      *reinterpret_cast<uint4*>(global + to) = numbers;
    }
    __syncwarp();
#pragma unroll
    for (int i = 0; i < kTaps - 1; ++i) rows[i] = rows[8 + i];
  }
}

// k_i . k_j and q_i . k_j for the warp's tokens i, up to the tile on the diagonal.
__device__ void multiply_pairs(const __half* keys, const __half* queries, PairTiles& key_pairs,
                               PairTiles& query_pairs) {
  const int tile = static_cast<int>(threadIdx.x) / kWarp;
#pragma unroll
  for (int n = 0; n < kPairBlocks; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) key_pairs[n][i] = query_pairs[n][i] = 0;
  }
  for (int k = 0; k < kKeyDim / 16; ++k) {
    unsigned key[4], query[4];
    load_matrices(quad_address<Second::Down>(keys, kKeyBlocks, tile, k), key);
    load_matrices(quad_address<Second::Down>(queries, kKeyBlocks, tile, k), query);
#pragma unroll
    for (int n = 0; n < kPairBlocks / 2; ++n) {
      if (n > tile) break;
      unsigned other[4];
      load_matrices(quad_address<Second::Right>(keys, kKeyBlocks, n, k), other);
      multiply_f16(key_pairs[2 * n], key, other[0], other[1]);
      multiply_f16(key_pairs[2 * n + 1], key, other[2], other[3]);
      multiply_f16(query_pairs[2 * n], query, other[0], other[1]);
      multiply_f16(query_pairs[2 * n + 1], query, other[2], other[3]);
    }
  }
}

// One warp: G and beta of one value head. Missing tokens neither decay nor write.
__device__ void load_gates(const DeltaChunks& work, std::int64_t row, int count, int head,
                           float* decay, float* beta, float* global_decay) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  float logs[2] = {0, 0};
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int token = 2 * lane + i;
    if (token < count) {
      const float log = work.log_decay[(row + token) * work.log_decay_stride + head];
      logs[i] = log < kLeastLogDecay ? kLeastLogDecay : log;  // NaN stays
    }
    beta[token] = token < count ? work.beta[(row + token) * work.beta_stride + head] : 0.0F;
  }
  float sum = logs[0] + logs[1];
#pragma unroll
  for (int distance = 1; distance < kWarp; distance *= 2) {
    const float before = __shfl_up_sync(0xFFFFFFFFU, sum, distance);
    if (lane >= distance) sum += before;
  }
  const float2 both = {sum - logs[1], sum};
  *reinterpret_cast<float2*>(decay + 2 * lane) = both;
  *reinterpret_cast<float2*>(global_decay + 2 * lane) = both;
}

// Writes `mix` to global memory and L to the solver.
__device__ void apply_decay(const PairTiles& key_pairs, const PairTiles& query_pairs,
                            const float* decay, const float* beta, __half* mix, Solver& solver) {
  const int tile = static_cast<int>(threadIdx.x) / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int half = tile * 16 / kHalf;
#pragma unroll
  for (int n = 0; n < kPairBlocks; ++n) {
    if (n > 2 * tile + 1) break;
    float mixed[4], lower[4];
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      const int i = 16 * tile + lane / 4 + c / 2 * 8;
      const int j = 8 * n + lane % 4 * 2 + c % 2;
      const float weight = j <= i ? __expf(decay[i] - decay[j]) : 0.0F;
      mixed[c] = weight * query_pairs[n][c];
      lower[c] = j < i ? beta[i] * weight * key_pairs[n][c] : 0.0F;
      if (8 * n >= half * kHalf)
        solver.lower[half][(j - half * kHalf) * kPitch + i - half * kHalf] = lower[c];
    }
    store_tile(mix, kPairBlocks, tile, n, mixed);
    if (8 * n < half * kHalf) store_tile(solver.corner, kHalfBlocks, tile - kHalf / 16, n, lower);
  }
}

// x of (I + L) x = x for half a matrix; each lane has its own column.
__device__ void substitute(const float* lower, float (&x)[kHalf]) {
#pragma unroll
  for (int m = 0; m < kHalf - 1; ++m) {
#pragma unroll
    for (int i = (m + 1) / 4 * 4; i < kHalf; i += 4) {
      const float4 column = *reinterpret_cast<const float4*>(lower + m * kPitch + i);
      if (i > m) x[i] -= column.x * x[m];
      if (i + 1 > m) x[i + 1] -= column.y * x[m];
      if (i + 2 > m) x[i + 2] -= column.z * x[m];
      if (i + 3 > m) x[i + 3] -= column.w * x[m];
    }
  }
}

// 1/A or 1/B.
__device__ void invert_half(Solver& solver, int side, const float* beta) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  float x[kHalf];
#pragma unroll
  for (int i = 0; i < kHalf; ++i) x[i] = i == lane ? 1.0F : 0.0F;
  substitute(solver.lower[side], x);
  const float factor = side == 0 ? beta[lane] : 1.0F;
  __half* column = solver.inverse[side] + lane / 8 * kBlockNumbers + lane % 8;
#pragma unroll
  for (int i = 0; i < kHalf; ++i)
    column[i / 8 * kHalfBlocks * kBlockNumbers + i % 8 * 8] = __float2half_rn(x[i] * factor);
}

// out = a b for 16 rows `tile`, of which the first `depth` tiles across are not zero.
using HalfTiles = float[kHalfBlocks][4];
__device__ void multiply_halves(const __half* a, const __half* b, int tile, int depth,
                                HalfTiles& out) {
#pragma unroll
  for (int k = 0; k < kHalf / 16; ++k) {
    if (k >= depth) break;
    unsigned left[4];
    load_matrices(quad_address<Second::Down>(a, kHalfBlocks, tile, k), left);
#pragma unroll
    for (int n = 0; n < kHalfBlocks; n += 2) {
      unsigned right[4];
      load_transposed(quad_address<Second::Down>(b, kHalfBlocks, k, n / 2), right);
      multiply_f16(out[n], left, right[0], right[1]);
      multiply_f16(out[n + 1], left, right[2], right[3]);
    }
  }
}

// T diag(beta) on the diagonal: 1/A as it is, 1/B times beta.
__device__ void store_half(const Solver& solver, int side, const float* beta, __half* solve) {
  for (int at = static_cast<int>(threadIdx.x) % kWarp; at < kHalf * kHalfBlocks; at += kWarp) {
    const int down = at / 8 / kHalfBlocks, right = at / 8 % kHalfBlocks;
    if (right / 2 > down / 2) continue;
    uint4 numbers = reinterpret_cast<const uint4*>(solver.inverse[side])[at];
    if (side == 1) {
      auto* pairs = reinterpret_cast<__half2*>(&numbers);
      const auto* factors = reinterpret_cast<const float2*>(beta + kHalf + right * 8);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float2 pair = __half22float2(pairs[i]);
        pairs[i] = __floats2half2_rn(pair.x * factors[i].x, pair.y * factors[i].y);
      }
    }
    const int block = (side * kHalfBlocks + down) * kPairBlocks + side * kHalfBlocks + right;
    reinterpret_cast<uint4*>(solve)[block * 8 + at % 8] = numbers;
  }
}

// From L to T diag(beta) in global memory, two warps a matrix; all threads call it, those without a
// matrix with solve == nullptr.
__device__ void solve_matrix(Solver& solver, int side, const float* beta, __half* solve) {
  invert_half(solver, side, beta);
  __syncthreads();
  HalfTiles product = {};
  multiply_halves(solver.corner, solver.inverse[0], side, kHalf / 16, product);
#pragma unroll
  for (int n = 0; n < kHalfBlocks; ++n)
    store_tile(solver.product, kHalfBlocks, side, n, product[n]);
  __syncthreads();
  if (solve == nullptr) return;
  HalfTiles corner = {};
  multiply_halves(solver.inverse[1], solver.product, side, side + 1, corner);
#pragma unroll
  for (int n = 0; n < kHalfBlocks; ++n) {
#pragma unroll
    for (float& number : corner[n]) number = -number;
    store_tile(solve, kPairBlocks, kHalf / 16 + side, n, corner[n]);
  }
  store_half(solver, side, beta, solve);
}

// One block: a chunk and up to kHeadsAtOnce value heads of one key head.
template <bool kConvolves>
__global__ void __launch_bounds__(kThreads, 4) prepare(DeltaChunks work) {
  extern __shared__ __align__(16) unsigned char shared[];
  __shared__ __align__(16) float decay[kHeadsAtOnce][kChunkTokens],
      beta[kHeadsAtOnce][kChunkTokens];
  const int index = static_cast<int>(blockIdx.x);  // in the wave
  const int key_head = static_cast<int>(blockIdx.y);
  const Chunk chunk = find_chunk(work.tables, work.first_chunk + index, kChunkTokens);
  if (chunk.rows <= 0 || work.tables.rows[chunk.segment] <= kStepRows) return;
  const std::int64_t row = work.tables.first_row[chunk.segment] + chunk.begin;
  const ChunkMatrices& matrices = work.matrices;

  // Heads and matrices of this block and, beyond the block's first warps, of the two that solve
  // one.
  const int heads = work.value_heads / work.key_heads;
  const int first = static_cast<int>(blockIdx.z) * kHeadsAtOnce;
  const int count = min(kHeadsAtOnce, heads - first);
  const int head = key_head * heads + first;
  const std::int64_t matrix = std::int64_t{index} * work.value_heads + head;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  if (warp < count) {
    load_gates(work, row, chunk.rows, head + warp, decay[warp], beta[warp],
               matrices.decay + (matrix + warp) * kChunkTokens);
  }
  auto* keys = reinterpret_cast<__half*>(shared);
  __half* queries = keys + kKeyNumbers;
  // Blocks that share a key head write the same numbers.
  const std::int64_t at = (std::int64_t{index} * work.key_heads + key_head) * kKeyNumbers;
  const int channel = key_head * kKeyDim;
  if constexpr (kConvolves) {
    auto& stage = reinterpret_cast<ConvStage*>(shared + kKeyBytes)[warp];
    convolve(conv_rows(work, chunk, work.k, work.k_stride, work.k_taps), work.k_taps.weight,
             channel, stage, keys, matrices.keys + at);
    convolve(conv_rows(work, chunk, work.q, work.q_stride, work.q_taps), work.q_taps.weight,
             channel, stage, queries, matrices.queries + at);
  } else {
    normalise(work.k + row * work.k_stride + channel, work.k_stride, chunk.rows, keys,
              matrices.keys + at);
    normalise(work.q + row * work.q_stride + channel, work.q_stride, chunk.rows, queries,
              matrices.queries + at);
  }
  __syncthreads();
  PairTiles key_pairs, query_pairs;
  multiply_pairs(keys, queries, key_pairs, query_pairs);
  __syncthreads();  // L takes the place of keys and queries

  auto* solvers = reinterpret_cast<Solver*>(shared);  // [heads at once]
  for (int i = 0; i < count; ++i) {
    apply_decay(key_pairs, query_pairs, decay[i], beta[i],
                matrices.mix + (matrix + i) * kPairNumbers, solvers[i]);
  }
  __syncthreads();
  const int mine = warp / kSolvers;
  solve_matrix(solvers[mine], warp % kSolvers, beta[mine],
               mine < count ? matrices.solve + (matrix + mine) * kPairNumbers : nullptr);
}

}  // namespace

void prepare_chunks(const DeltaChunks& work, cudaStream_t stream) {
  const int heads = work.value_heads / work.key_heads;
  const dim3 grid(static_cast<unsigned>(work.end_chunk - work.first_chunk),
                  static_cast<unsigned>(work.key_heads),
                  static_cast<unsigned>((heads + kHeadsAtOnce - 1) / kHeadsAtOnce));
  const auto kernel = work.q_taps.weight != nullptr ? prepare<true> : prepare<false>;
  kernel<<<grid, kThreads, kSharedBytes, stream>>>(work);
  check_launch("delta_net prepare");
}

}  // namespace krasis::cuda
