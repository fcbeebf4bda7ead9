#include "cuda/causal_conv.h"
#include "cuda/conv_taps.cuh"
#include "cuda/delta_net.h"
#include "cuda/early_start.cuh"
#include "cuda/segment_chunk.cuh"

namespace krasis::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kChunkRows = 32;  // of which the 3 rows before are read twice
constexpr int kBatch = 8;       // rows in flight a thread of longer segments: 8 x 16 bytes

struct Conv {
  const float* x;  // [tokens, channels]
  std::int64_t x_stride;
  const float* weight;  // [channels, width]
  float* state;         // [slots, width - 1, channels]
  float* out;           // [tokens, channels]
  std::int64_t out_stride;
  int channels;
  std::int64_t state_channels;  // of a row of the state
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
  return op.state + (sequence.slot * (op.width - 1) + op.width - 1 + index) * op.state_channels;
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
  load_taps(op.weight + channel * kTaps, taps);
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
  float* state = op.state + sequence.slot * (kTaps - 1) * op.state_channels + channel;
  for (int i = 0; i < kTaps - 1; ++i)
    *reinterpret_cast<float4*>(state + i * op.state_channels) = rows[i];
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
    op.out[(sequence.first_row + t) * op.out_stride + channel] = exact_silu(sum);
  }
}

// The state after segments of more than `skip_rows` rows. Input i + rows comes after input i, so
// that ascending order reads every old number before it is overwritten.
__global__ void __launch_bounds__(kThreads) conv_state(Conv op, StepTables tables, int skip_rows) {
  const Sequence sequence = sequence_of(tables, static_cast<int>(blockIdx.y));
  const int channel = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  if (sequence.rows <= skip_rows || channel >= op.channels) return;
  float* state = op.state + sequence.slot * (op.width - 1) * op.state_channels + channel;
  for (int i = 0; i < op.width - 1; ++i) {
    const float* row = input_row(op, sequence, sequence.rows - (op.width - 1) + i);
    state[i * op.state_channels] = row == nullptr ? 0.0F : row[channel];
  }
}

bool in_fours(const Conv& op) {
  const auto aligned = [](const float* data) {
    return reinterpret_cast<std::uintptr_t>(data) % sizeof(float4) == 0;
  };
  return op.width == kTaps && op.channels % 4 == 0 && op.state_channels % 4 == 0 &&
         op.x_stride % 4 == 0 && op.out_stride % 4 == 0 && aligned(op.x) && aligned(op.out) &&
         aligned(op.weight) && aligned(op.state);
}

unsigned blocks_for(int count, int size) {
  return static_cast<unsigned>((count + size - 1) / size);
}

Conv arguments_of(const CausalConv& op, std::int64_t first, std::int64_t count) {
  return {.x = op.x.data + first,
          .x_stride = op.x.stride,
          .weight = op.weight.data() + first * op.width,
          .state = op.state + first,
          .out = op.out.data + first,
          .out_stride = op.out.stride,
          .channels = static_cast<int>(count),
          .state_channels = op.x.cols,
          .width = static_cast<int>(op.width)};
}

// Returns the number of rows up to which segments have stored their state.
int convolve(const Conv& conv, const Launch& launch) {
  const auto chunks = static_cast<unsigned>(chunk_numbers(launch.tables, kChunkRows));
  const bool fours = in_fours(conv);
  if (fours) {
    const dim3 grid(blocks_for(conv.channels, 4 * kThreads), chunks);
    start_early(launch.tables.max_rows == 1 ? conv_fours<1> : conv_fours<kBatch>,
                {.blocks = grid, .threads = kThreads}, launch, conv, launch.tables);
  } else {
    const dim3 grid(blocks_for(conv.channels, kThreads), chunks);
    conv_any<<<grid, kThreads, 0, launch.stream>>>(conv, launch.tables);
  }
  check_launch("causal_conv");
  return fours ? kChunkRows : 0;
}

void store_state(const Conv& conv, int skip_rows, const Launch& launch) {
  if (launch.tables.max_rows <= skip_rows || conv.width == 1) return;
  const dim3 grid(blocks_for(conv.channels, kThreads),
                  static_cast<unsigned>(launch.tables.segments));
  conv_state<<<grid, kThreads, 0, launch.stream>>>(conv, launch.tables, skip_rows);
  check_launch("causal_conv state");
}

}  // namespace

void causal_conv(const CausalConv& op, const Launch& launch) {
  if (op.x.rows == 0 || launch.tables.segments == 0) return;
  const Conv conv = arguments_of(op, 0, op.x.cols);
  store_state(conv, convolve(conv, launch), launch);
}

bool convolves_in_fours(const CausalConv& op) {
  return in_fours(arguments_of(op, 0, op.x.cols));
}

void convolve_channels(const CausalConv& op, std::int64_t first, std::int64_t count,
                       const Launch& launch) {
  convolve(arguments_of(op, first, count), launch);
}

void store_conv_inputs(const CausalConv& op, const Launch& launch) {
  store_state(arguments_of(op, 0, op.x.cols), 0, launch);
}

}  // namespace krasis::cuda
