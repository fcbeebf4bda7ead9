#include "cuda/delta_net_chunk.h"
#include "cuda/early_start.cuh"

namespace krasis::cuda {
namespace {

// One block: a segment, a value head, kColumns columns of V, with the state in registers. Thread i
// has 4 columns of the rows i / 8, i / 8 + 16, ...
constexpr int kThreads = 128;
constexpr int kWarpSize = 32;
constexpr int kWarps = kThreads / kWarpSize;
constexpr int kColumns = kDeltaColumns;
constexpr int kFours = kColumns / 4;           // threads across the columns
constexpr int kRowGroups = kThreads / kFours;  // threads down the rows
constexpr int kRows = kKeyDim / kRowGroups;    // of a thread

struct Tokens {
  float k[kStepRows][kKeyDim], q[kStepRows][kKeyDim];  // normalised; q / sqrt(key_dim)
  float product[kStepRows];                            // k . q
  float decay[kStepRows], beta[kStepRows];
};

__device__ float dot(const float4& a, const float4& b) {
  return a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w;
}

__device__ float4 times(const float4& a, float b) {
  return {a.x * b, a.y * b, a.z * b, a.w * b};
}

__device__ void add_times(float4& sum, const float4& a, float b) {
  sum.x += a.x * b;
  sum.y += a.y * b;
  sum.z += a.z * b;
  sum.w += a.w * b;
}

__device__ float warp_sum(float value) {
#pragma unroll
  for (int distance = 1; distance < kWarpSize; distance *= 2)
    value += __shfl_xor_sync(0xFFFFFFFFU, value, distance);
  return value;
}

// A warp a token.
__device__ void load_tokens(const DeltaArguments& op, std::int64_t first_row, int rows, int head,
                            Tokens& tokens) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int key_column = head / (op.value_heads / op.key_heads) * kKeyDim + lane * 4;
  for (int t = static_cast<int>(threadIdx.x) / kWarpSize; t < rows; t += kWarps) {
    const std::int64_t row = first_row + t;
    const float4 k = *reinterpret_cast<const float4*>(op.k + row * op.k_stride + key_column);
    const float4 q = *reinterpret_cast<const float4*>(op.q + row * op.q_stride + key_column);
    const float log_decay = op.log_decay[row * op.log_decay_stride + head];
    const float beta = op.beta[row * op.beta_stride + head];
    const float k_scale = 1 / sqrtf(warp_sum(dot(k, k)) + 1e-6F);
    const float q_scale = 1 / sqrtf((warp_sum(dot(q, q)) + 1e-6F) * static_cast<float>(kKeyDim));
    const float product = warp_sum(dot(k, q));
    *reinterpret_cast<float4*>(&tokens.k[t][lane * 4]) = times(k, k_scale);
    *reinterpret_cast<float4*>(&tokens.q[t][lane * 4]) = times(q, q_scale);
    if (lane != 0) continue;
    tokens.product[t] = product * k_scale * q_scale;
    tokens.decay[t] = expf(log_decay);
    tokens.beta[t] = beta;
  }
}

// Sums of S^T k and S^T q over all rows: a warp's, which lanes 0-7 leave for the others.
struct Sums {
  float4 k, q;
};

__device__ float4 sum_of_row_groups(float4 value) {
#pragma unroll
  for (int distance = kFours; distance < kWarpSize; distance *= 2) {
    value.x += __shfl_xor_sync(0xFFFFFFFFU, value.x, distance);
    value.y += __shfl_xor_sync(0xFFFFFFFFU, value.y, distance);
    value.z += __shfl_xor_sync(0xFFFFFFFFU, value.z, distance);
    value.w += __shfl_xor_sync(0xFFFFFFFFU, value.w, distance);
  }
  return value;
}

__device__ Sums sum_of_warps(const Sums (&warps)[kWarps][kFours], int four) {
  Sums sums = {};
#pragma unroll
  for (int w = 0; w < kWarps; ++w) {
    add_times(sums.k, warps[w][four].k, 1);
    add_times(sums.q, warps[w][four].q, 1);
  }
  return sums;
}

__global__ void __launch_bounds__(kThreads) step(DeltaArguments op) {
  __shared__ __align__(16) Tokens tokens;
  __shared__ __align__(16) Sums partial[2][kWarps][kFours];  // of even and odd tokens
  let_later_start();
  // The tables and the state are of earlier steps, which are over.
  const StepTables& tables = op.tables;
  const int segment = static_cast<int>(blockIdx.z);
  const int rows = tables.rows[segment];
  if (rows <= 0 || rows > kStepRows) return wait_for_earlier();
  const int head = static_cast<int>(blockIdx.y);
  const int thread = static_cast<int>(threadIdx.x);
  const int four = thread % kFours, group = thread / kFours;
  const int column = static_cast<int>(blockIdx.x) * kColumns + four * 4;
  const std::int64_t first_row = tables.first_row[segment];
  const std::int64_t matrix = std::int64_t{tables.slot[segment]} * op.value_heads + head;
  float* slot = op.state + (matrix * kKeyDim + group) * op.value_dim + column;

  float4 state[kRows] = {};  // rows group + kRowGroups * i
  if (tables.past[segment] > 0) {
#pragma unroll
    for (int i = 0; i < kRows; ++i)
      state[i] = *reinterpret_cast<const float4*>(slot + i * kRowGroups * op.value_dim);
  }
  wait_for_earlier();
  const std::int64_t value_column = std::int64_t{head} * op.value_dim + column;
  const auto load_value = [&](int t) {
    return *reinterpret_cast<const float4*>(op.v + (first_row + t) * op.v_stride + value_column);
  };
  float4 next_value = load_value(0);
  load_tokens(op, first_row, rows, head, tokens);
  __syncthreads();
  for (int t = 0; t < rows; ++t) {
    float4 change = next_value;
    if (t + 1 < rows) next_value = load_value(t + 1);
    Sums sums = {};
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const int key = group + kRowGroups * i;
      state[i] = times(state[i], tokens.decay[t]);
      add_times(sums.k, state[i], tokens.k[t][key]);
      add_times(sums.q, state[i], tokens.q[t][key]);
    }
    sums = {sum_of_row_groups(sums.k), sum_of_row_groups(sums.q)};
    if (thread % kWarpSize < kFours) partial[t % 2][thread / kWarpSize][four] = sums;
    __syncthreads();
    sums = sum_of_warps(partial[t % 2], four);
    // beta (v - S^T k); then (S + k change^T)^T q = S^T q + (k . q) change
    add_times(change, sums.k, -1);
    change = times(change, tokens.beta[t]);
#pragma unroll
    for (int i = 0; i < kRows; ++i)
      add_times(state[i], change, tokens.k[t][group + kRowGroups * i]);
    if (group != 0) continue;
    add_times(sums.q, change, tokens.product[t]);
    *reinterpret_cast<float4*>(op.out + (first_row + t) * op.out_stride + value_column) = sums.q;
  }
#pragma unroll
  for (int i = 0; i < kRows; ++i)
    *reinterpret_cast<float4*>(slot + i * kRowGroups * op.value_dim) = state[i];
}

}  // namespace

void delta_net_steps(const DeltaArguments& op, const Launch& launch) {
  const dim3 grid(static_cast<unsigned>(op.value_dim / kColumns),
                  static_cast<unsigned>(op.value_heads), static_cast<unsigned>(op.tables.segments));
  start_early(step, {.blocks = grid, .threads = kThreads}, launch, op);
}

}  // namespace krasis::cuda
