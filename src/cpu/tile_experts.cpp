#include <algorithm>
#include <string>

#include "base/error.h"
#include "cpu/tile_runner.h"

namespace krasis::cpu {
namespace {

// With so few (token, expert) pairs each worker quantizes the products that it needs itself, which
// is quicker than a barrier. A bit of a 64-bit word for each expert says what it has.
constexpr std::int64_t kRowsOfOneWorker = 32;

// Columns of the output that one piece of the last sum covers.
constexpr std::int64_t kSumColumns = 256;

std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

TileMatrix part(const ExpertMatrices::Tiled& tiled, std::int64_t expert, const TileShape& shape,
                std::size_t tiles, std::size_t scales) {
  const std::byte* base = tiled.base + static_cast<std::size_t>(expert) * tiled.expert_bytes;
  return {shape, base + tiles, reinterpret_cast<const bf16*>(base + scales)};
}

}  // namespace

// What the workers share in one call.
struct TileRunner::ExpertStep {
  const ExpertMatrices::Tiled& tiled;
  Rows x;                        // [tokens of the chunk, hidden]
  MutableRows out;               // the same
  std::int64_t rows;             // pairs that have an expert
  std::int64_t product_columns;  // of w13's result
  bool few_rows;
  const std::int32_t* identity;
};

void TileRunner::experts(const Experts& op) {
  ensure(op.matrices.tiled.has_value(), "tile runner: experts: the matrices are not tiled");
  const ExpertMatrices& m = op.matrices;
  // Of a row: its product as F32 and quantized, its output; of a token: x quantized.
  const std::int64_t row_bytes = 5 * round_up(m.intermediate, kColumnPadding) + 4 * m.hidden;
  const std::int64_t token_bytes = std::max<std::int64_t>(op.top_k * row_bytes + m.hidden, 1);
  const std::int64_t chunk =
      std::max<std::int64_t>(static_cast<std::int64_t>(kMaxIntermediateBytes) / token_bytes, 1);
  for (std::int64_t first = 0; first < op.x.rows; first += chunk)
    expert_chunk(op, first, std::min(chunk, op.x.rows - first));
}

// Sorts the (token, j) pairs by expert, keeping their order within one: active_, tokens_, places_,
// weights_, firsts_.
void TileRunner::sort_by_expert(const Experts& op, std::int64_t first, std::int64_t count) {
  const auto ids = op.ids.subspan(static_cast<std::size_t>(first * op.top_k),
                                  static_cast<std::size_t>(count * op.top_k));
  row_ends_.assign(static_cast<std::size_t>(op.matrices.experts), 0);
  for (const std::int32_t id : ids) {
    if (id == -1) continue;
    if (id < 0 || id >= op.matrices.experts) {
      throw Error(ErrorCode::InvalidArgument, "experts: id " + std::to_string(id) +
                                                  " is not one of " +
                                                  std::to_string(op.matrices.experts) + " experts");
    }
    ++row_ends_[static_cast<std::size_t>(id)];
  }
  active_.clear();
  std::int64_t row = 0;
  for (std::size_t e = 0; e < row_ends_.size(); ++e) {
    const std::int64_t rows = row_ends_[e];
    if (rows > 0) active_.push_back({static_cast<std::int64_t>(e), row, rows});
    row_ends_[e] = row;
    row += rows;
  }
  const auto rows = static_cast<std::size_t>(row);
  tokens_.resize(rows);
  places_.resize(rows);
  weights_.resize(rows);
  firsts_.resize(static_cast<std::size_t>(count) + 1);
  const float* weights = op.weights.data() + first * op.top_k;
  std::size_t place = 0;
  for (std::int64_t t = 0; t < count; ++t) {
    firsts_[static_cast<std::size_t>(t)] = static_cast<std::int64_t>(place);
    for (std::int64_t j = 0; j < op.top_k; ++j) {
      const auto n = static_cast<std::size_t>(t * op.top_k + j);
      if (ids[n] < 0) continue;
      const auto at = static_cast<std::size_t>(row_ends_[static_cast<std::size_t>(ids[n])]++);
      tokens_[at] = static_cast<std::int32_t>(t);
      places_[at] = static_cast<std::int32_t>(place);
      weights_[place++] = weights[n];
    }
  }
  firsts_.back() = row;
}

void TileRunner::expert_chunk(const Experts& op, std::int64_t first, std::int64_t count) {
  const ExpertMatrices::Tiled& tiled = *op.matrices.tiled;
  const int workers = pool_.size();
  sort_by_expert(op, first, count);
  const auto rows = static_cast<std::int64_t>(tokens_.size());
  const ExpertStep step{.tiled = tiled,
                        .x = op.x.slice(first, count),
                        .out = op.out.slice(first, count),
                        .rows = rows,
                        .product_columns = tiled.w13.padded_rows / 2,
                        .few_rows = rows <= kRowsOfOneWorker,
                        .identity = identity(rows * (rows <= kRowsOfOneWorker ? workers : 1))};
  x_.reserve(count, tiled.w13);
  products_.reserve(rows * step.product_columns);
  outputs_.reserve(rows * op.matrices.hidden);
  quantized_products_.reserve(rows * (step.few_rows ? workers : 1), tiled.w2);

  segments_.clear();
  second_segments_.clear();
  for (const Active& active : active_) {
    const std::int64_t cost = 4 + active.rows;  // as in tile_linear.cpp
    segments_.push_back({.strips = tiled.w13.strips(), .cost = cost});
    second_segments_.push_back({.strips = tiled.w2.strips(), .cost = cost});
  }
  split_.plan(segments_, workers);
  second_split_.plan(second_segments_, workers);

  if (step.few_rows) {
    for (std::int64_t t = 0; t < count; ++t)
      quantize_row(step.x.row(t), step.x.cols, tiled.w13, x_, t);
  }
  pool_.run([&](int worker) {
    if (!step.few_rows) {
      quantize_share(step.x, tiled.w13, x_, worker);
      pool_.barrier();
    }
    hidden_products(step, worker);
    pool_.barrier();
    output_products(step, worker);
    pool_.barrier();
    sum_outputs(step, worker);
  });
}

// products_[row] = silu(gate x) * up x
void TileRunner::hidden_products(const ExpertStep& step, int worker) {
  const ExpertMatrices::Tiled& tiled = step.tiled;
  split_.run(worker, [&](std::size_t index, std::int64_t from, std::int64_t to) {
    const Active& active = active_[index];
    const TileMatrix w13 = part(tiled, active.expert, tiled.w13, tiled.w13_tiles, tiled.w13_scales);
    const std::int64_t column = from * kStripRows / 2;
    TileProduct job = product_of(w13, from, to, x_, worker);
    job.in_rows = tokens_.data() + active.first_row;
    job.out_rows = step.identity + active.first_row;
    job.rows = active.rows;
    job.out = products_.data() + column;
    job.out_stride = step.product_columns;
    job.out_columns = step.product_columns - column;
    job.gated = true;
    kernels_.product(job);
  });
}

// outputs_[place] = w2 products_[row]
void TileRunner::output_products(const ExpertStep& step, int worker) {
  const ExpertMatrices::Tiled& tiled = step.tiled;
  const auto quantize = [&](std::int64_t row, std::int64_t to) {
    const float* product = products_.data() + row * step.product_columns;
    quantize_row(product, std::min(step.product_columns, tiled.w2.padded_columns), tiled.w2,
                 quantized_products_, to);
  };
  if (!step.few_rows) {
    const std::int64_t workers = pool_.size();
    for (std::int64_t r = worker * step.rows / workers; r < (worker + 1) * step.rows / workers; ++r)
      quantize(r, r);
    pool_.barrier();
  }
  const std::int64_t own = step.few_rows ? worker * step.rows : 0;  // first row of this worker
  std::uint64_t quantized = 0;                                      // experts whose rows it has
  second_split_.run(worker, [&](std::size_t index, std::int64_t from, std::int64_t to) {
    const Active& active = active_[index];
    if (step.few_rows && (quantized >> index & 1U) == 0) {
      for (std::int64_t r = 0; r < active.rows; ++r)
        quantize(active.first_row + r, own + active.first_row + r);
      quantized |= std::uint64_t{1} << index;
    }
    const TileMatrix w2 = part(tiled, active.expert, tiled.w2, tiled.w2_tiles, tiled.w2_scales);
    TileProduct job = product_of(w2, from, to, quantized_products_, worker);
    job.in_rows = step.identity + own + active.first_row;
    job.out_rows = places_.data() + active.first_row;
    job.rows = active.rows;
    job.out = outputs_.data() + from * kStripRows;
    job.out_stride = step.out.cols;
    job.out_columns = step.out.cols - from * kStripRows;
    kernels_.product(job);
  });
}

// out[t] = the sum over its places, ascending, of weights_[place] * outputs_[place]
void TileRunner::sum_outputs(const ExpertStep& step, int worker) const {
  const std::int64_t hidden = step.out.cols;
  const std::int64_t pieces = (hidden + kSumColumns - 1) / kSumColumns;
  const std::int64_t count = step.out.rows * pieces;
  const std::int64_t workers = pool_.size();
  for (std::int64_t n = worker * count / workers; n < (worker + 1) * count / workers; ++n) {
    const std::int64_t token = n / pieces;
    const std::int64_t column = n % pieces * kSumColumns;
    const std::int64_t first = firsts_[static_cast<std::size_t>(token)];
    kernels_.weighted_sum({.parts = outputs_.data() + first * hidden + column,
                           .stride = hidden,
                           .weights = weights_.data() + first,
                           .terms = firsts_[static_cast<std::size_t>(token) + 1] - first,
                           .columns = std::min(kSumColumns, hidden - column),
                           .out = step.out.row(token) + column});
  }
}

}  // namespace krasis::cpu
