#include "cpu/delta_net.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace krasis::cpu {
namespace {

constexpr std::int64_t kConvChannels = 256;  // a task's; four rows of them are 4 KiB
constexpr std::int64_t kDeltaTokens = 32;    // whose q and k of 128 numbers are 32 KiB
constexpr std::int64_t kDeltaColumns = 64;   // a task's least: the fewest that fill the kernels
constexpr float kL2Eps = 1e-6F;              // ops/delta_net.h
constexpr std::array<float, kConvChannels> kNoInputs{};

// [channels, width] to [width, channels]
template <class Width>
void transpose(const float* weights, std::int64_t channels, Width width, float* out) {
  for (std::int64_t c = 0; c < channels; ++c)
    for (std::int64_t j = 0; j < width; ++j) out[j * channels + c] = weights[c * width + j];
}

// The segment and the rest of a task's number, where each segment has `parts`.
struct Place {
  const Segment& segment;
  std::int64_t part;
};
Place place(std::span<const Segment> segments, std::int64_t task, std::int64_t parts) {
  return {segments[static_cast<std::size_t>(task / parts)], task % parts};
}

double mean_rows(std::span<const Segment> segments) {
  std::int64_t rows = 0;
  for (const Segment& segment : segments) rows += segment.rows;
  return static_cast<double>(rows) / static_cast<double>(std::max<std::size_t>(segments.size(), 1));
}

}  // namespace

void DeltaNetRunner::causal_conv(const CausalConv& op) {
  const int workers = machine_.pool.size();
  scratch_.reserve(workers * op.width * kConvChannels);
  inputs_.reserve(workers * op.width);
  const std::int64_t parts = (op.x.cols + kConvChannels - 1) / kConvChannels;
  const auto segments = static_cast<std::int64_t>(op.segments.size());
  const double task_ns = (mean_rows(op.segments) + 1) * kConvChannels;
  for_tasks(machine_.pool, segments * parts, task_ns, [&](int worker, std::int64_t task) {
    const auto [segment, part] = place(op.segments, task, parts);
    if (segment.rows > 0) conv_part(op, segment, part * kConvChannels, worker);
  });
}

// Channels from `first` through all of a segment's tokens.
void DeltaNetRunner::conv_part(const CausalConv& op, const Segment& segment, std::int64_t first,
                               int worker) {
  const std::int64_t channels = std::min(kConvChannels, op.x.cols - first);
  const std::int64_t past = op.width - 1;
  float* state = op.state + segment.slot * past * op.x.cols + first;
  float* weights = scratch_.data() + worker * op.width * kConvChannels;
  if (op.width == 4) {
    transpose(op.weight.data() + first * 4, channels, std::integral_constant<int, 4>{}, weights);
  } else {
    transpose(op.weight.data() + first * op.width, channels, op.width, weights);
  }
  // Input i of the sequence, counted from the first that the slot holds.
  const auto input = [&](std::int64_t i) -> const float* {
    if (i >= past) return op.x.row(segment.first_row + i - past) + first;
    return segment.past > 0 ? state + i * op.x.cols : kNoInputs.data();
  };
  const float** taps = inputs_.data() + worker * op.width;
  for (std::int64_t t = 0; t < segment.rows; ++t) {
    for (std::int64_t j = 0; j < op.width; ++j) taps[j] = input(t + j);
    machine_.kernels.conv_row({.taps = taps,
                               .weights = weights,
                               .width = op.width,
                               .columns = channels,
                               .out = op.out.row(segment.first_row + t) + first});
  }
  // Ascending: an input still wanted lies behind the one it replaces.
  for (std::int64_t i = 0; i < past; ++i)
    std::copy_n(input(segment.rows + i), channels, state + i * op.x.cols);
}

void delta_gates(const Machine& machine, const DeltaGates& op) {
  constexpr double kGateNs = 40;
  for_tasks(machine.pool, op.a.rows, kGateNs * static_cast<double>(op.a.cols),
            [&](int /*worker*/, std::int64_t t) {
              for (std::int64_t h = 0; h < op.a.cols; ++h) {
                const auto head = static_cast<std::size_t>(h);
                const float z = op.a.row(t)[h] + op.dt_bias[head];
                const float softplus = std::max(z, 0.0F) + std::log1p(std::exp(-std::abs(z)));
                const float gate = op.b.row(t)[h];
                op.log_decay.row(t)[h] = -std::exp(op.a_log[head]) * softplus;
                op.beta.row(t)[h] = 1 / (1 + std::exp(-gate));
              }
            });
}

// Some columns of one value head.
struct DeltaNetRunner::Part {
  const Segment& segment;
  std::int64_t head, first_column, columns;
};

void DeltaNetRunner::delta_net(const DeltaNet& op) {
  const std::int64_t workers = machine_.pool.size();
  scratch_.reserve(workers * kDeltaTokens * (2 * op.key_dim + 2));
  const std::int64_t heads = static_cast<std::int64_t>(op.segments.size()) * op.value_heads;
  const std::int64_t columns = heads >= 2 * workers ? op.value_dim : kDeltaColumns;
  const std::int64_t parts = (op.value_dim + columns - 1) / columns;
  constexpr double kStateNs = 0.1;  // a token and number of the state
  const double task_ns = (mean_rows(op.segments) + 1) * kStateNs *
                         static_cast<double>(op.key_dim * std::min(columns, op.value_dim));
  for_tasks(machine_.pool, heads * parts, task_ns, [&](int worker, std::int64_t task) {
    const auto [segment, part] = place(op.segments, task, op.value_heads * parts);
    const std::int64_t first = part % parts * columns;
    if (segment.rows == 0) return;
    delta_part(op, {segment, part / parts, first, std::min(columns, op.value_dim - first)}, worker);
  });
}

void DeltaNetRunner::delta_part(const DeltaNet& op, const Part& part, int worker) {
  const Segment& segment = part.segment;
  float* q = scratch_.data() + worker * kDeltaTokens * (2 * op.key_dim + 2);
  float* k = q + kDeltaTokens * op.key_dim;
  float* decay = k + kDeltaTokens * op.key_dim;
  float* beta = decay + kDeltaTokens;
  float* state = op.state +
                 (segment.slot * op.value_heads + part.head) * op.key_dim * op.value_dim +
                 part.first_column;
  if (segment.past == 0) {
    for (std::int64_t r = 0; r < op.key_dim; ++r)
      std::fill_n(state + r * op.value_dim, part.columns, 0.0F);
  }
  const std::int64_t key_column = part.head / (op.value_heads / op.key_heads) * op.key_dim;
  const std::int64_t column = part.head * op.value_dim + part.first_column;
  const float q_factor = 1 / std::sqrt(static_cast<float>(op.key_dim));
  const auto normalise = [&](const float* x, float factor, float* out) {
    machine_.kernels.l2_norm_row(
        {.x = x, .eps = kL2Eps, .factor = factor, .columns = op.key_dim, .out = out});
  };
  for (std::int64_t done = 0; done < segment.rows; done += kDeltaTokens) {
    const std::int64_t tokens = std::min(kDeltaTokens, segment.rows - done);
    const std::int64_t row = segment.first_row + done;
    for (std::int64_t t = 0; t < tokens; ++t) {
      normalise(op.q.row(row + t) + key_column, q_factor, q + t * op.key_dim);
      normalise(op.k.row(row + t) + key_column, 1, k + t * op.key_dim);
      decay[t] = std::exp(op.log_decay.row(row + t)[part.head]);
      beta[t] = op.beta.row(row + t)[part.head];
    }
    machine_.kernels.delta_tokens({.state = state,
                                   .state_stride = op.value_dim,
                                   .key_dim = op.key_dim,
                                   .columns = part.columns,
                                   .tokens = tokens,
                                   .q = q,
                                   .k = k,
                                   .v = op.v.row(row) + column,
                                   .v_stride = op.v.stride,
                                   .decay = decay,
                                   .beta = beta,
                                   .out = op.out.row(row) + column,
                                   .out_stride = op.out.stride});
  }
}

}  // namespace krasis::cpu
