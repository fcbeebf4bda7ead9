#include <algorithm>

#include "cuda/causal_conv.h"
#include "cuda/delta_net.h"
#include "cuda/delta_net_chunk.cuh"
#include "cuda/delta_net_chunk.h"
#include "cuda/early_start.cuh"

namespace krasis::cuda {
namespace {

constexpr int kGateThreads = 256;

struct Gates {
  const float* a;
  const float* b;
  const float* a_log;
  const float* dt_bias;
  float* log_decay;
  float* beta;
  std::int64_t a_stride, b_stride, log_decay_stride, beta_stride;
  std::int64_t rows;
  int heads;
};

__global__ void __launch_bounds__(kGateThreads) gates(Gates op) {
  let_later_start();
  wait_for_earlier();
  const std::int64_t at = std::int64_t{blockIdx.x} * kGateThreads + threadIdx.x;
  if (at >= op.rows * op.heads) return;
  const std::int64_t row = at / op.heads;
  const int head = static_cast<int>(at % op.heads);
  const float z = op.a[row * op.a_stride + head] + op.dt_bias[head];
  const float b = op.b[row * op.b_stride + head];
  const float softplus = fmaxf(z, 0.0F) + log1pf(expf(-fabsf(z)));  // exp(z) would overflow
  op.log_decay[row * op.log_decay_stride + head] = -expf(op.a_log[head]) * softplus;
  op.beta[row * op.beta_stride + head] = 1 / (1 + expf(-b));
}

// Any shape: one block a segment, value head and kAnyColumns columns of V. The state is worked on
// where it lies; a thread alone touches its rows of its column.
constexpr int kAnyThreads = 256;
constexpr int kAnyColumns = 32;
constexpr int kAnyGroups = kAnyThreads / kAnyColumns;

struct KeySums {
  float k, q, product;  // k . k, q . q, k . q
};

// Sums over the block, for all threads.
__device__ KeySums sum_keys(const float* k, const float* q, int key_dim,
                            KeySums (&partial)[kAnyThreads / kWarp]) {
  KeySums sums = {};
  for (int i = static_cast<int>(threadIdx.x); i < key_dim; i += kAnyThreads) {
    sums.k += k[i] * k[i];
    sums.q += q[i] * q[i];
    sums.product += k[i] * q[i];
  }
  for (int distance = 1; distance < kWarp; distance *= 2) {
    sums.k += __shfl_xor_sync(0xFFFFFFFFU, sums.k, distance);
    sums.q += __shfl_xor_sync(0xFFFFFFFFU, sums.q, distance);
    sums.product += __shfl_xor_sync(0xFFFFFFFFU, sums.product, distance);
  }
  if (threadIdx.x % kWarp == 0) partial[threadIdx.x / kWarp] = sums;
  __syncthreads();
  sums = {};
  for (const KeySums& warp : partial) {
    sums.k += warp.k;
    sums.q += warp.q;
    sums.product += warp.product;
  }
  return sums;
}

__global__ void __launch_bounds__(kAnyThreads) step_any(DeltaArguments op) {
  __shared__ KeySums key_partial[kAnyThreads / kWarp];
  __shared__ float2 partial[kAnyGroups][kAnyColumns];  // S^T k, S^T q
  const int segment = static_cast<int>(blockIdx.z);
  const int head = static_cast<int>(blockIdx.y);
  const int lane = static_cast<int>(threadIdx.x) % kAnyColumns;
  const int group = static_cast<int>(threadIdx.x) / kAnyColumns;
  const int column = static_cast<int>(blockIdx.x) * kAnyColumns + lane;
  const bool inside = column < op.value_dim;
  const int first_key = inside ? group : op.key_dim;  // beyond the last column: no rows
  const std::int64_t matrix = std::int64_t{op.tables.slot[segment]} * op.value_heads + head;
  float* state = op.state + matrix * op.key_dim * op.value_dim + column;
  const int rows = op.tables.rows[segment];
  if (rows > 0 && op.tables.past[segment] == 0) {
    for (int i = first_key; i < op.key_dim; i += kAnyGroups)
      state[std::int64_t{i} * op.value_dim] = 0;
  }
  const std::int64_t key_column = std::int64_t{head / (op.value_heads / op.key_heads)} * op.key_dim;
  const std::int64_t value_column = std::int64_t{head} * op.value_dim + column;
  for (int t = 0; t < rows; ++t) {
    const std::int64_t row = op.tables.first_row[segment] + t;
    const float* k = op.k + row * op.k_stride + key_column;
    const float* q = op.q + row * op.q_stride + key_column;
    const KeySums keys = sum_keys(k, q, op.key_dim, key_partial);
    const float k_scale = 1 / sqrtf(keys.k + 1e-6F);
    const float q_scale = 1 / sqrtf((keys.q + 1e-6F) * static_cast<float>(op.key_dim));
    const float decay = expf(op.log_decay[row * op.log_decay_stride + head]);
    float2 sums = {0, 0};
    for (int i = first_key; i < op.key_dim; i += kAnyGroups) {
      const float decayed = state[std::int64_t{i} * op.value_dim] * decay;
      sums.x += decayed * k[i];
      sums.y += decayed * q[i];
    }
    partial[group][lane] = sums;
    __syncthreads();
    sums = {0, 0};
    for (int i = 0; i < kAnyGroups; ++i) {
      sums.x += partial[i][lane].x;
      sums.y += partial[i][lane].y;
    }
    if (!inside) continue;
    const float change = op.beta[row * op.beta_stride + head] *
                         (op.v[row * op.v_stride + value_column] - sums.x * k_scale);
    for (int i = first_key; i < op.key_dim; i += kAnyGroups) {
      float& number = state[std::int64_t{i} * op.value_dim];
      number = number * decay + k[i] * k_scale * change;
    }
    if (group == 0) {
      op.out[row * op.out_stride + value_column] =
          (sums.y + keys.product * k_scale * change) * q_scale;
    }
  }
}

DeltaArguments arguments_of(const DeltaNet& op, const StepTables& tables) {
  return {.q = op.q.data,
          .k = op.k.data,
          .v = op.v.data,
          .log_decay = op.log_decay.data,
          .beta = op.beta.data,
          .out = op.out.data,
          .q_stride = op.q.stride,
          .k_stride = op.k.stride,
          .v_stride = op.v.stride,
          .log_decay_stride = op.log_decay.stride,
          .beta_stride = op.beta.stride,
          .out_stride = op.out.stride,
          .key_heads = static_cast<int>(op.key_heads),
          .value_heads = static_cast<int>(op.value_heads),
          .key_dim = static_cast<int>(op.key_dim),
          .value_dim = static_cast<int>(op.value_dim),
          .state = op.state,
          .tables = tables};
}

bool in_fours(const float* data, std::int64_t stride) {
  return reinterpret_cast<std::uintptr_t>(data) % sizeof(float4) == 0 && stride % 4 == 0;
}

bool has_fast_shape(const DeltaArguments& op) {
  return op.key_dim == kKeyDim && op.value_dim % kDeltaColumns == 0 &&
         in_fours(op.q, op.q_stride) && in_fours(op.k, op.k_stride) &&
         in_fours(op.v, op.v_stride) && in_fours(op.out, op.out_stride) && in_fours(op.state, 0);
}

ChunkMatrices take_matrices(const DeltaArguments& op, int chunks, Scratch& scratch) {
  const auto key_heads = static_cast<std::size_t>(chunks) * static_cast<std::size_t>(op.key_heads);
  const auto value_heads =
      static_cast<std::size_t>(chunks) * static_cast<std::size_t>(op.value_heads);
  return {.keys = scratch.take_as<__half>(key_heads * kKeyNumbers),
          .queries = scratch.take_as<__half>(key_heads * kKeyNumbers),
          .solve = scratch.take_as<__half>(value_heads * kPairNumbers),
          .mix = scratch.take_as<__half>(value_heads * kPairNumbers),
          .decay = scratch.take_as<float>(value_heads * kChunkTokens)};
}

// As many as scratch memory has room for.
int wave_chunks(const DeltaArguments& op, int chunks, const Scratch& scratch) {
  constexpr std::size_t kAlignment = 5 * 256;  // of the matrices
  const std::size_t chunk_bytes =
      static_cast<std::size_t>(op.key_heads) * 2 * kKeyNumbers * sizeof(__half) +
      static_cast<std::size_t>(op.value_heads) *
          (2 * kPairNumbers * sizeof(__half) + kChunkTokens * sizeof(float));
  const std::size_t room = (std::max(scratch.bytes(), kAlignment) - kAlignment) / chunk_bytes;
  return static_cast<int>(
      std::clamp<std::size_t>(room, 1, static_cast<std::size_t>(std::min(chunks, kWaveChunks))));
}

bool are_columns(const Rows& rows, const Rows& whole) {
  return rows.data >= whole.data && rows.data + rows.cols <= whole.data + whole.cols &&
         rows.stride == whole.stride && rows.rows == whole.rows;
}

KeyTaps taps_of(const CausalConv& conv, std::int64_t channel) {
  return {conv.weight.data() + channel * conv.width, conv.state + channel, conv.x.cols};
}

// op with the convolution's inputs for q and k.
DeltaArguments arguments_of(const CausalConv& conv, const DeltaNet& op, const StepTables& tables) {
  DeltaArguments work = arguments_of(op, tables);
  const std::int64_t q = op.q.data - conv.out.data, k = op.k.data - conv.out.data;
  work.q = conv.x.data + q;
  work.k = conv.x.data + k;
  work.q_stride = work.k_stride = conv.x.stride;
  work.q_taps = taps_of(conv, q);
  work.k_taps = taps_of(conv, k);
  return work;
}

}  // namespace

bool has_convolved_keys(const CausalConv& conv, const DeltaNet& op) {
  const bool is_inside =
      are_columns(op.q, conv.out) && are_columns(op.k, conv.out) && are_columns(op.v, conv.out);
  const bool is_long = std::ranges::all_of(
      op.segments, [](const Segment& s) { return s.rows == 0 || s.rows > kStepRows; });
  return is_inside && is_long && convolves_in_fours(conv) &&
         has_fast_shape(arguments_of(conv, op, {}));
}

void conv_and_delta_net(const CausalConv& conv, const DeltaNet& op, const Launch& launch) {
  if (op.q.rows == 0 || launch.tables.segments == 0) return;
  convolve_channels(conv, op.v.data - conv.out.data, op.v.cols, launch);
  delta_net_chunks(arguments_of(conv, op, launch.tables), launch);
  store_conv_inputs(conv, launch);
}

void delta_net_chunks(const DeltaArguments& op, const Launch& launch) {
  const int chunks = chunk_numbers(op.tables, kChunkTokens);
  const int wave = wave_chunks(op, chunks, launch.scratch);
  DeltaChunks work = {op};
  work.matrices = take_matrices(op, wave, launch.scratch);
  for (int first = 0; first < chunks; first += wave) {
    work.first_chunk = first;
    work.end_chunk = std::min(first + wave, chunks);
    prepare_chunks(work, launch.stream);
    scan_chunks(work, launch);
  }
}

void delta_gates(const DeltaGates& op, const Launch& launch) {
  if (op.a.rows == 0 || op.a.cols == 0) return;
  const Gates work = {.a = op.a.data,
                      .b = op.b.data,
                      .a_log = op.a_log.data(),
                      .dt_bias = op.dt_bias.data(),
                      .log_decay = op.log_decay.data,
                      .beta = op.beta.data,
                      .a_stride = op.a.stride,
                      .b_stride = op.b.stride,
                      .log_decay_stride = op.log_decay.stride,
                      .beta_stride = op.beta.stride,
                      .rows = op.a.rows,
                      .heads = static_cast<int>(op.a.cols)};
  const std::int64_t blocks = (op.a.rows * op.a.cols + kGateThreads - 1) / kGateThreads;
  start_early(gates, {.blocks = static_cast<unsigned>(blocks), .threads = kGateThreads}, launch,
              work);
}

void delta_net(const DeltaNet& op, const Launch& launch) {
  if (op.q.rows == 0 || launch.tables.segments == 0) return;
  const DeltaArguments work = arguments_of(op, launch.tables);
  if (has_fast_shape(work)) {
    if (launch.tables.max_rows > kStepRows) delta_net_chunks(work, launch);
    delta_net_steps(work, launch);
    return;
  }
  const dim3 grid(static_cast<unsigned>((work.value_dim + kAnyColumns - 1) / kAnyColumns),
                  static_cast<unsigned>(work.value_heads),
                  static_cast<unsigned>(launch.tables.segments));
  step_any<<<grid, kAnyThreads, 0, launch.stream>>>(work);
  check_launch("delta_net");
}

}  // namespace krasis::cuda
