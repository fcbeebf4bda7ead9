#include "cuda/delta_net_chunk.cuh"
#include "cuda/runtime.h"

namespace krasis::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarp;
constexpr int kSolvers = 2;                      // warps that solve one value head
constexpr int kHeadsAtOnce = kWarps / kSolvers;  // value heads of a block
constexpr int kHalf = kChunkTokens / kSolvers;   // columns of a warp that solves
constexpr int kPitch = kChunkTokens + 4;         // rows of 16 bytes, without bank conflicts
constexpr int kKeyBlocks = kKeyDim / 8;          // blocks in a row of keys
constexpr int kPairBlocks = kChunkTokens / 8;
constexpr float kLeastLogDecay = -100;  // its exponential is zero; keeps sums of it exact enough
constexpr int kMatrixNumbers = kChunkTokens * kPitch;
constexpr std::size_t kSharedBytes = kHeadsAtOnce * kMatrixNumbers * sizeof(float);
static_assert(kSharedBytes >= 2 * kKeyNumbers * sizeof(__half));

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

// Writes `mix` to global memory and L, transposed, to lower[j * kPitch + i].
__device__ void apply_decay(const PairTiles& key_pairs, const PairTiles& query_pairs,
                            const float* decay, const float* beta, __half* mix, float* lower) {
  const int tile = static_cast<int>(threadIdx.x) / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
  for (int n = 0; n < kPairBlocks; ++n) {
    if (n > 2 * tile + 1) break;
    float mixed[4];
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      const int i = 16 * tile + lane / 4 + c / 2 * 8;
      const int j = 8 * n + lane % 4 * 2 + c % 2;
      const float weight = j <= i ? __expf(decay[i] - decay[j]) : 0.0F;
      mixed[c] = weight * query_pairs[n][c];
      lower[j * kPitch + i] = j < i ? beta[i] * weight * key_pairs[n][c] : 0.0F;
    }
    store_tile(mix, kPairBlocks, tile, n, mixed);
  }
}

// x of (I + L) x = x for a 32 x 32 block of L on the diagonal; each lane has its own column.
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

// Replaces L (transposed) by T in `lower`[row * kPitch + column], one column a lane, two warps a
// matrix; all threads call it. T's upper right quarter is not written.
__device__ void invert(float* lower, int side) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  float x[kHalf];
#pragma unroll 1
  for (int half = 0; half < 2; ++half) {
    if (half == 1 || side == 0) {
#pragma unroll
      for (int i = 0; i < kHalf; ++i) x[i] = half == side && i == lane ? 1.0F : 0.0F;
      if (half != side) {  // the lower left quarter: minus L times what was found above
#pragma unroll 4
        for (int m = 0; m < kHalf; ++m) {
          const float above = lower[m * kPitch + lane];
#pragma unroll
          for (int i = 0; i < kHalf; i += 4) {
            const float4 column = *reinterpret_cast<const float4*>(lower + m * kPitch + kHalf + i);
            x[i] -= column.x * above;
            x[i + 1] -= column.y * above;
            x[i + 2] -= column.z * above;
            x[i + 3] -= column.w * above;
          }
        }
      }
      substitute(lower + half * (kHalf * kPitch + kHalf), x);
    }
    __syncthreads();  // both warps have read this block of L
    if (half == 1 || side == 0) {
#pragma unroll
      for (int i = 0; i < kHalf; ++i)
        lower[(half * kHalf + i) * kPitch + side * kHalf + lane] = x[i];
    }
  }
}

// T diag(beta) in blocks, by the warps that solved it.
__device__ void store_solve(const float* inverse, const float* beta, __half* solve) {
  constexpr int kSteps = kSolvers * kWarp;
  for (int at = static_cast<int>(threadIdx.x) % kSteps; at < kPairBlocks * kChunkTokens;
       at += kSteps) {
    const int block = at / 8;
    const int row = block / kPairBlocks * 8 + at % 8;
    const int column = block % kPairBlocks * 8;
    if (column / 16 > row / 16) continue;
    const auto* from = reinterpret_cast<const float4*>(inverse + row * kPitch + column);
    const auto* factors = reinterpret_cast<const float4*>(beta + column);
    float4 low = from[0], high = from[1];
    low = {low.x * factors[0].x, low.y * factors[0].y, low.z * factors[0].z, low.w * factors[0].w};
    high = {high.x * factors[1].x, high.y * factors[1].y, high.z * factors[1].z,
            high.w * factors[1].w};
    reinterpret_cast<uint4*>(solve)[at] = packed(low, high, 1);
  }
}

// One block: a chunk and up to kHeadsAtOnce value heads of one key head.
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
  normalise(work.k + row * work.k_stride + key_head * kKeyDim, work.k_stride, chunk.rows, keys,
            matrices.keys + at);
  normalise(work.q + row * work.q_stride + key_head * kKeyDim, work.q_stride, chunk.rows, queries,
            matrices.queries + at);
  __syncthreads();
  PairTiles key_pairs, query_pairs;
  multiply_pairs(keys, queries, key_pairs, query_pairs);
  __syncthreads();  // L takes the place of keys and queries

  auto* lower = reinterpret_cast<float*>(shared);  // [heads at once, tokens, kPitch]
  for (int i = 0; i < count; ++i) {
    apply_decay(key_pairs, query_pairs, decay[i], beta[i],
                matrices.mix + (matrix + i) * kPairNumbers, lower + i * kMatrixNumbers);
  }
  __syncthreads();
  const int mine = warp / kSolvers;
  invert(lower + mine * kMatrixNumbers, warp % kSolvers);
  __syncthreads();
  if (mine >= count) return;
  store_solve(lower + mine * kMatrixNumbers, beta[mine],
              matrices.solve + (matrix + mine) * kPairNumbers);
}

}  // namespace

void prepare_chunks(const DeltaChunks& work, cudaStream_t stream) {
  const int heads = work.value_heads / work.key_heads;
  const dim3 grid(static_cast<unsigned>(work.end_chunk - work.first_chunk),
                  static_cast<unsigned>(work.key_heads),
                  static_cast<unsigned>((heads + kHeadsAtOnce - 1) / kHeadsAtOnce));
  prepare<<<grid, kThreads, kSharedBytes, stream>>>(work);
  check_launch("delta_net prepare");
}

}  // namespace krasis::cuda
