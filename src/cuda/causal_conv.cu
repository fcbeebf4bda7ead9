#include "cuda/delta_net.h"
#include "cuda/early_start.cuh"
#include "cuda/segment_chunk.cuh"

namespace krasis::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kChunkRows = 32;  // of which the 3 rows before are read twice
constexpr int kBatch = 8;       // rows in flight a thread of longer segments: 8 x 16 bytes
constexpr int kTaps = 4;

struct Conv {
  const float* x;  // [tokens, channels]
  std::int64_t x_stride;
  const float* weight;  // [channels, width]
  float* state;         // [slots, width - 1, channels]
  float* out;           // [tokens, channels]
  std::int64_t out_stride;
  int channels;
  int width;
};

struct Sequence {
  std::int64_t first_row, rows;
  bool fresh;  // nothing came before
  std::int64_t slot;
};

__device__ Sequence sequence_of(const StepTables& tables, int segment) {
  return {tables.first_row[segment], tables.rows[segment], tables.past[segment] == 0,
          tables.slot[segment]};
}

// Row `index` of a segment, where -1 is the newest row of the state; nullptr: zeros.
__device__ const float* input_row(const Conv& op, const Sequence& sequence, std::int64_t index) {
  if (index >= 0) return op.x + (sequence.first_row + index) * op.x_stride;
  if (sequence.fresh) return nullptr;
  return op.state + (sequence.slot * (op.width - 1) + op.width - 1 + index) * op.channels;
}

__device__ float silu(float z) {
  return z / (1.0F + __expf(-z));
}

__device__ float4 load4(const float* row, int channel) {
  return row == nullptr ? float4{} : *reinterpret_cast<const float4*>(row + channel);
}

// The rows before `index`.
template <int kRows>
__device__ void load_before(float4 (&rows)[kRows], const Conv& op, const Sequence& sequence,
                            std::int64_t index, int channel) {
  for (int i = 0; i < kTaps - 1; ++i)
    rows[i] = load4(input_row(op, sequence, index + i - (kTaps - 1)), channel);
}

__device__ float4 convolved(const float4 (&taps)[kTaps], const float4& a, const float4& b,
                            const float4& c, const float4& d) {
  // taps[i] are those of channel i, oldest input first.
  const auto one = [](const float4& tap, float p, float q, float r, float s) {
    return silu(tap.x * p + tap.y * q + tap.z * r + tap.w * s);
  };
  return {one(taps[0], a.x, b.x, c.x, d.x), one(taps[1], a.y, b.y, c.y, d.y),
          one(taps[2], a.z, b.z, c.z, d.z), one(taps[3], a.w, b.w, c.w, d.w)};
}

// One thread: 4 channels of one chunk, kRows of its rows at a time. Also stores the state of
// segments of one chunk; elsewhere the first chunk may not have read it yet.
template <int kRows>
__global__ void __launch_bounds__(kThreads) conv_fours(Conv op, StepTables tables) {
  let_later_start();
  // The tables and the state are of earlier steps, which are over.
  const Chunk chunk = find_chunk(tables, static_cast<int>(blockIdx.y), kChunkRows);
  const int channel = static_cast<int>(blockIdx.x * kThreads + threadIdx.x) * 4;
  if (chunk.rows <= 0 || channel >= op.channels) return wait_for_earlier();
  const Sequence sequence = sequence_of(tables, chunk.segment);
  float4 taps[kTaps];
  for (int i = 0; i < kTaps; ++i)
    taps[i] = *reinterpret_cast<const float4*>(op.weight + (channel + i) * kTaps);
  float4 rows[kTaps - 1 + kRows];  // the 3 before, then a batch
  if (chunk.begin == 0) load_before(rows, op, sequence, chunk.begin, channel);
  wait_for_earlier();
  if (chunk.begin > 0) load_before(rows, op, sequence, chunk.begin, channel);

  const std::int64_t first = sequence.first_row + chunk.begin;
  for (int t = 0; t < chunk.rows; t += kRows) {
    const int count = min(kRows, chunk.rows - t);
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      if (i < count) rows[kTaps - 1 + i] = load4(op.x + (first + t + i) * op.x_stride, channel);
    }
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      if (i >= count) break;
      *reinterpret_cast<float4*>(op.out + (first + t + i) * op.out_stride + channel) =
          convolved(taps, rows[i], rows[i + 1], rows[i + 2], rows[i + 3]);
    }
    if (count == kRows) {
      for (int i = 0; i < kTaps - 1; ++i) rows[i] = rows[kRows + i];
    } else {
      for (int i = 0; i < count; ++i) {  // `count` is no constant: shift by one each time
#pragma unroll
        for (int j = 0; j + 1 < kTaps - 1 + kRows; ++j) rows[j] = rows[j + 1];
      }
    }
  }
  if (chunk.rows < sequence.rows) return;
  float* state = op.state + sequence.slot * (kTaps - 1) * op.channels + channel;
  for (int i = 0; i < kTaps - 1; ++i) *reinterpret_cast<float4*>(state + i * op.channels) = rows[i];
}

__global__ void __launch_bounds__(kThreads) conv_any(Conv op, StepTables tables) {
  const Chunk chunk = find_chunk(tables, static_cast<int>(blockIdx.y), kChunkRows);
  const int channel = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  if (chunk.rows <= 0 || channel >= op.channels) return;
  const Sequence sequence = sequence_of(tables, chunk.segment);
  const float* weight = op.weight + static_cast<std::int64_t>(channel) * op.width;
  for (int t = chunk.begin; t < chunk.begin + chunk.rows; ++t) {
    float sum = 0;
    for (int j = 0; j < op.width; ++j) {
      const float* row = input_row(op, sequence, t - (op.width - 1) + j);
      if (row != nullptr) sum += weight[j] * row[channel];
    }
    op.out[(sequence.first_row + t) * op.out_stride + channel] = silu(sum);
  }
}

// The state after segments of more than `skip_rows` rows. Input i + rows comes after input i, so
// that ascending order reads every old number before it is overwritten.
__global__ void __launch_bounds__(kThreads) conv_state(Conv op, StepTables tables, int skip_rows) {
  const Sequence sequence = sequence_of(tables, static_cast<int>(blockIdx.y));
  const int channel = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  if (sequence.rows <= skip_rows || channel >= op.channels) return;
  float* state = op.state + sequence.slot * (op.width - 1) * op.channels + channel;
  for (int i = 0; i < op.width - 1; ++i) {
    const float* row = input_row(op, sequence, sequence.rows - (op.width - 1) + i);
    state[static_cast<std::int64_t>(i) * op.channels] = row == nullptr ? 0.0F : row[channel];
  }
}

bool in_fours(const Conv& op) {
  const auto aligned = [](const float* data) {
    return reinterpret_cast<std::uintptr_t>(data) % sizeof(float4) == 0;
  };
  return op.width == kTaps && op.channels % 4 == 0 && op.x_stride % 4 == 0 &&
         op.out_stride % 4 == 0 && aligned(op.x) && aligned(op.out) && aligned(op.weight) &&
         aligned(op.state);
}

unsigned blocks_for(int count, int size) {
  return static_cast<unsigned>((count + size - 1) / size);
}

}  // namespace

void causal_conv(const CausalConv& op, const Launch& launch) {
  const StepTables& tables = launch.tables;
  if (op.x.rows == 0 || tables.segments == 0) return;
  const Conv conv = {.x = op.x.data,
                     .x_stride = op.x.stride,
                     .weight = op.weight.data(),
                     .state = op.state,
                     .out = op.out.data,
                     .out_stride = op.out.stride,
                     .channels = static_cast<int>(op.x.cols),
                     .width = static_cast<int>(op.width)};
  const auto chunks = static_cast<unsigned>(chunk_numbers(tables, kChunkRows));
  const bool fours = in_fours(conv);
  if (fours) {
    const dim3 grid(blocks_for(conv.channels, 4 * kThreads), chunks);
    start_early(tables.max_rows == 1 ? conv_fours<1> : conv_fours<kBatch>,
                {.blocks = grid, .threads = kThreads}, launch, conv, tables);
  } else {
    const dim3 grid(blocks_for(conv.channels, kThreads), chunks);
    conv_any<<<grid, kThreads, 0, launch.stream>>>(conv, tables);
  }
  check_launch("causal_conv");
  const int done_rows = fours ? kChunkRows : 0;
  if (tables.max_rows <= done_rows || conv.width == 1) return;
  const dim3 grid(blocks_for(conv.channels, kThreads), static_cast<unsigned>(tables.segments));
  conv_state<<<grid, kThreads, 0, launch.stream>>>(conv, tables, done_rows);
  check_launch("causal_conv state");
}

}  // namespace krasis::cuda
