#include <algorithm>
#include <numeric>
#include <string>

#include "base/error.h"
#include "cpu/tile_runner.h"

namespace krasis::cpu {
namespace {

// Fewer rows than this are quantized by the caller before the workers start: that is quicker than
// a barrier.
constexpr std::int64_t kRowsWorthSharing = 4;

// Rows of x that are in work at once.
std::int64_t chunk_rows(const TileShape& shape) {
  const std::int64_t bytes_per_row = shape.padded_columns + shape.groups() * 8;
  return std::max<std::int64_t>(static_cast<std::int64_t>(kMaxIntermediateBytes) / bytes_per_row,
                                1);
}

// What a strip costs with some rows: reading and unpacking it is as long as four rows' products.
std::int64_t strip_cost(std::int64_t rows) {
  return 4 + rows;
}

void add_bias(std::span<const float> bias, MutableRows out, std::int64_t first, std::int64_t last) {
  for (std::int64_t t = 0; t < out.rows; ++t) {
    float* row = out.row(t);
    for (std::int64_t n = first; n < last; ++n) row[n] += bias[static_cast<std::size_t>(n)];
  }
}

}  // namespace

void QuantizedRows::reserve(std::int64_t rows, const TileShape& shape) {
  q.reserve(rows * shape.padded_columns);
  scales.reserve(rows * shape.groups());
  offsets.reserve(rows * shape.groups());
}

TileRunner::TileRunner(ThreadPool& pool, const TileKernels& kernels)
    : pool_(pool), kernels_(kernels) {
  kernel_scratch_.reserve(static_cast<std::int64_t>(kTileScratchBytes) * pool_.size());
}

const std::int32_t* TileRunner::identity(std::int64_t count) {
  const auto size = static_cast<std::size_t>(count);
  if (identity_.size() < size) {
    identity_.resize(size);
    std::iota(identity_.begin(), identity_.end(), 0);
  }
  return identity_.data();
}

void TileRunner::quantize_row(const float* x, std::int64_t columns, const TileShape& shape,
                              QuantizedRows& rows, std::int64_t row) const {
  kernels_.activations({.x = x,
                        .columns = columns,
                        .padded = shape.padded_columns,
                        .group = shape.type.group,
                        .weight_offset = shape.type.bits == 4 ? 8 : 128,
                        .q = rows.q.data() + row * shape.padded_columns,
                        .scales = rows.scales.data() + row * shape.groups(),
                        .offsets = rows.offsets.data() + row * shape.groups()});
}

void TileRunner::quantize_share(Rows x, const TileShape& shape, QuantizedRows& rows,
                                int worker) const {
  const std::int64_t workers = pool_.size();
  for (std::int64_t t = worker * x.rows / workers; t < (worker + 1) * x.rows / workers; ++t)
    quantize_row(x.row(t), x.cols, shape, rows, t);
}

TileProduct TileRunner::product_of(const TileMatrix& matrix, std::int64_t first_strip,
                                   std::int64_t last_strip, const QuantizedRows& x,
                                   int worker) const {
  const TileShape& shape = matrix.shape;
  TileProduct job{};
  job.tiles = reinterpret_cast<const std::uint8_t*>(matrix.tiles) +
              static_cast<std::size_t>(first_strip) * shape.strip_bytes();
  job.scales = reinterpret_cast<const std::uint16_t*>(matrix.scales) +
               first_strip * shape.groups() * kStripRows;
  job.strips = last_strip - first_strip;
  job.columns = shape.padded_columns;
  job.bits = shape.type.bits;
  job.group = shape.type.group;
  job.q = x.q.data();
  job.x_scales = x.scales.data();
  job.x_offsets = x.offsets.data();
  job.scratch = kernel_scratch_.data() + static_cast<std::size_t>(worker) * kTileScratchBytes;
  return job;
}

void TileRunner::linear(const Linear& op) {
  ensure(op.weight.tiles.has_value(), "tile runner: linear: the weight is not tiled");
  const std::int64_t chunk = chunk_rows(op.weight.tiles->shape);
  for (std::int64_t first = 0; first < op.x.rows; first += chunk)
    linear_chunk(op, first, std::min(chunk, op.x.rows - first));
}

void TileRunner::linear_chunk(const Linear& op, std::int64_t first, std::int64_t count) {
  const TileMatrix& matrix = *op.weight.tiles;
  const TileShape& shape = matrix.shape;
  const Rows x = op.x.slice(first, count);
  const MutableRows out = op.out.slice(first, count);
  x_.reserve(count, shape);
  const std::int32_t* rows = identity(count);
  segments_.assign(1, {.strips = shape.strips(), .cost = strip_cost(count)});
  split_.plan(segments_, pool_.size());
  const bool shared = count >= kRowsWorthSharing;
  if (!shared) {
    for (std::int64_t t = 0; t < count; ++t) quantize_row(x.row(t), x.cols, shape, x_, t);
  }
  pool_.run([&](int worker) {
    if (shared) {
      quantize_share(x, shape, x_, worker);
      pool_.barrier();
    }
    split_.run(worker, [&](std::size_t, std::int64_t from, std::int64_t to) {
      TileProduct job = product_of(matrix, from, to, x_, worker);
      job.in_rows = job.out_rows = rows;
      job.rows = count;
      job.out = out.data + from * kStripRows;
      job.out_stride = out.stride;
      job.out_columns = out.cols - from * kStripRows;
      kernels_.product(job);
      if (!op.bias.empty())
        add_bias(op.bias, out, from * kStripRows, std::min(to * kStripRows, out.cols));
    });
  });
}

void TileRunner::head_linear(const HeadLinear& op) {
  ensure(op.weight.tiles.has_value() && op.out.cols % kStripRows == 0,
         "tile runner: head_linear: the weight is not tiled or heads share strips");
  const std::int64_t chunk =
      std::max(chunk_rows(op.weight.tiles->shape) / op.heads, std::int64_t{1}) * op.heads;
  for (std::int64_t first = 0; first < op.x.rows; first += chunk)
    head_chunk(op, first, std::min(chunk, op.x.rows - first));
}

void TileRunner::head_chunk(const HeadLinear& op, std::int64_t first, std::int64_t count) {
  const TileMatrix& matrix = *op.weight.tiles;
  const TileShape& shape = matrix.shape;
  const Rows x = op.x.slice(first, count);
  const MutableRows out = op.out.slice(first, count);
  x_.reserve(count, shape);
  const std::int64_t tokens = count / op.heads;
  tokens_.resize(static_cast<std::size_t>(count));  // rows of each head: [heads][tokens]
  for (std::int64_t h = 0; h < op.heads; ++h) {
    for (std::int64_t t = 0; t < tokens; ++t) {
      tokens_[static_cast<std::size_t>(h * tokens + t)] =
          static_cast<std::int32_t>(t * op.heads + h);
    }
  }
  const std::int64_t head_strips = out.cols / kStripRows;
  segments_.assign(static_cast<std::size_t>(op.heads),
                   {.strips = head_strips, .cost = strip_cost(tokens)});
  split_.plan(segments_, pool_.size());
  pool_.run([&](int worker) {
    quantize_share(x, shape, x_, worker);
    pool_.barrier();
    split_.run(worker, [&](std::size_t head, std::int64_t from, std::int64_t to) {
      const std::int64_t base = static_cast<std::int64_t>(head) * head_strips;
      TileProduct job = product_of(matrix, base + from, base + to, x_, worker);
      job.in_rows = job.out_rows = tokens_.data() + static_cast<std::int64_t>(head) * tokens;
      job.rows = tokens;
      job.out = out.data + from * kStripRows;
      job.out_stride = out.stride;
      job.out_columns = out.cols - from * kStripRows;
      kernels_.product(job);
    });
  });
}

}  // namespace krasis::cpu
