#include "cpu/attention.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "cpu/linear.h"

namespace krasis::cpu {
namespace {

constexpr std::int64_t kChunkTokens = 256;  // keys and values of 256 BF16 are 256 KiB: in the L2
constexpr std::int64_t kUnitRows = 32;      // their scores of a chunk are 32 KiB
constexpr std::int64_t kWaveBytes = 64 << 20;
constexpr std::int64_t kScores = kUnitRows * kChunkTokens;

Element cache_element(const PagedKv& kv) {
  switch (kv.dtype) {
    case DType::F8E4M3:
      return Element::E4M3;
    case DType::BF16:
      return Element::BF16;
    default:
      return Element::F32;
  }
}

std::int64_t group_of(const Attention& op) {
  return op.heads / op.kv.kv_heads;
}

// Of a unit's result.
std::int64_t result_size(const Attention& op) {
  return kUnitRows * (2 + op.kv.value_dim);
}

// The first pair of a segment that sees a chunk: its token's position is the chunk's start or more.
std::int64_t first_pair_seeing(const Attention& op, const Segment& segment, std::int64_t chunk) {
  return std::max<std::int64_t>(chunk * kChunkTokens - segment.past, 0) * group_of(op);
}

// Tokens that a pair sees.
std::int64_t visible(const Attention& op, const Segment& segment, std::int64_t pair) {
  return segment.past + pair / group_of(op) + 1;
}

std::int64_t row_of(const Attention& op, const Segment& segment, std::int64_t kv_head,
                    std::int64_t pair) {
  const std::int64_t group = group_of(op);
  return (segment.first_row + pair / group) * op.heads + kv_head * group + pair % group;
}

// Where a token's key or value starts, in elements.
std::int64_t place(const PagedKv& kv, const Segment& segment, std::int64_t head, std::int64_t token,
                   std::int64_t dim) {
  const std::int64_t page = segment.pages[static_cast<std::size_t>(token / kv.page_tokens)];
  return ((page * kv.kv_heads + head) * kv.page_tokens + token % kv.page_tokens) * dim;
}

// Calls work(first, count) for the parts of [begin, end) that lie in one page.
template <class Work>
void for_page_runs(const PagedKv& kv, std::int64_t begin, std::int64_t end, Work&& work) {
  while (begin < end) {
    const std::int64_t count = std::min(end - begin, kv.page_tokens - begin % kv.page_tokens);
    work(begin, count);
    begin += count;
  }
}

void store(const Machine& machine, const PagedKv& kv, std::byte* cache, std::int64_t at,
           const float* values, std::int64_t count) {
  switch (cache_element(kv)) {
    case Element::E4M3:
      return machine.kernels.narrow_e4m3(values, count,
                                         reinterpret_cast<std::uint8_t*>(cache) + at);
    case Element::BF16:
      return machine.kernels.narrow_bf16(values, count,
                                         reinterpret_cast<std::uint16_t*>(cache) + at);
    default:
      std::copy_n(values, count, reinterpret_cast<float*>(cache) + at);
  }
}

}  // namespace

void kv_append(const Machine& machine, const KvAppend& op) {
  const PagedKv& kv = op.kv;
  constexpr double kNumberNs = 0.3;
  for (const Segment& segment : op.segments) {
    const auto task_ns = kNumberNs * static_cast<double>(kv.key_dim + kv.value_dim);
    for_tasks(machine.pool, segment.rows * kv.kv_heads, task_ns, [&](int, std::int64_t task) {
      const std::int64_t head = task % kv.kv_heads;
      const std::int64_t token = segment.past + task / kv.kv_heads;
      const std::int64_t row = segment.first_row * kv.kv_heads + task;
      store(machine, kv, kv.keys, place(kv, segment, head, token, kv.key_dim), op.keys.row(row),
            kv.key_dim);
      if (kv.values == nullptr) return;
      store(machine, kv, kv.values, place(kv, segment, head, token, kv.value_dim),
            op.values.row(row), kv.value_dim);
    });
  }
}

AttentionRunner::Result AttentionRunner::result_at(float* memory, std::int64_t value_dim) {
  return {.largest = memory + kUnitRows * value_dim,
          .sum = memory + kUnitRows * (value_dim + 1),
          .out = memory};
}

void AttentionRunner::list_units(const Attention& op) {
  units_.clear();
  for (std::size_t s = 0; s < op.segments.size(); ++s) {
    const Segment& segment = op.segments[s];
    const std::int64_t pairs = segment.rows * group_of(op);
    const std::int64_t blocks = (pairs + kUnitRows - 1) / kUnitRows;
    // The last tokens see most: they come first, so that no worker ends long after the others.
    for (std::int64_t block = blocks - 1; block >= 0; --block) {
      const std::int64_t first = block * kUnitRows;
      const std::int64_t rows = std::min(kUnitRows, pairs - first);
      const std::int64_t seen = visible(op, segment, first + rows - 1);
      for (std::int64_t head = 0; head < op.kv.kv_heads; ++head) {
        units_.push_back({.segment = static_cast<std::int64_t>(s),
                          .kv_head = head,
                          .first = first,
                          .rows = rows,
                          .chunks = (seen + kChunkTokens - 1) / kChunkTokens,
                          .result = 0});
      }
    }
  }
}

void AttentionRunner::run(const Attention& op) {
  list_units(op);
  const std::int64_t workers = machine_.pool.size();
  scratch_.reserve(workers * (kScores + 2 * result_size(op)));
  std::int64_t chunks = 0;
  for (const Unit& unit : units_) chunks += unit.chunks;
  const auto units = static_cast<std::int64_t>(units_.size());
  if (units >= 2 * workers || units == chunks || workers == 1) {
    const double chunk_ns =
        product_ns(cache_element(op.kv), kUnitRows, kChunkTokens, op.kv.key_dim + op.kv.value_dim);
    const double unit_ns = chunk_ns * static_cast<double>(chunks) /
                           static_cast<double>(std::max<std::int64_t>(units, 1));
    for_tasks(machine_.pool, units, unit_ns, [&](int worker, std::int64_t task) {
      whole_unit(op, units_[static_cast<std::size_t>(task)], worker);
    });
    return;
  }
  const std::int64_t chunks_of_wave =
      kWaveBytes / (result_size(op) * static_cast<std::int64_t>(sizeof(float)));
  for (std::size_t first = 0; first < units_.size();) {
    std::size_t last = first;
    std::int64_t in_wave = 0;
    do {
      units_[last].result = in_wave;
      in_wave += units_[last].chunks;
      ++last;
    } while (last < units_.size() && in_wave + units_[last].chunks <= chunks_of_wave);
    run_wave(op, first, last);
    first = last;
  }
}

// All chunks of some units, each a task, and then each row put together.
void AttentionRunner::run_wave(const Attention& op, std::size_t first, std::size_t last) {
  const std::int64_t size = result_size(op);
  unit_of_task_.clear();
  for (std::size_t u = first; u < last; ++u)
    unit_of_task_.insert(unit_of_task_.end(), static_cast<std::size_t>(units_[u].chunks), u);
  const auto tasks = static_cast<std::int64_t>(unit_of_task_.size());
  results_.reserve(tasks * size);
  const double chunk_ns = product_ns(cache_element(op.kv), units_[first].rows, kChunkTokens,
                                     op.kv.key_dim + op.kv.value_dim);
  for_tasks(machine_.pool, tasks, chunk_ns, [&](int worker, std::int64_t task) {
    const Unit& unit = units_[unit_of_task_[static_cast<std::size_t>(task)]];
    chunk(op, unit, task - unit.result, worker,
          result_at(results_.data() + task * size, op.kv.value_dim));
  });

  const auto rows = static_cast<std::int64_t>(last - first) * kUnitRows;
  const double merge_ns =
      0.2 * static_cast<double>(op.kv.value_dim * tasks) / static_cast<double>(last - first);
  for_tasks(machine_.pool, rows, merge_ns, [&](int /*worker*/, std::int64_t task) {
    const Unit& unit = units_[first + static_cast<std::size_t>(task / kUnitRows)];
    const std::int64_t row = task % kUnitRows;
    if (row >= unit.rows) return;
    float* results = results_.data() + unit.result * size;
    const Segment& segment = op.segments[static_cast<std::size_t>(unit.segment)];
    const Result total = result_at(results, op.kv.value_dim);
    for (std::int64_t c = 1; c < unit.chunks; ++c) {
      if (unit.first + row < first_pair_seeing(op, segment, c)) break;
      merge(machine_, row, op.kv.value_dim, total, result_at(results + c * size, op.kv.value_dim));
    }
    finish(op, unit, row, total);
  });
}

void AttentionRunner::whole_unit(const Attention& op, const Unit& unit, int worker) {
  const Segment& segment = op.segments[static_cast<std::size_t>(unit.segment)];
  const std::int64_t size = result_size(op);
  float* memory = scratch_.data() + worker * (kScores + 2 * size) + kScores;
  const Result total = result_at(memory, op.kv.value_dim);
  const Result part = result_at(memory + size, op.kv.value_dim);
  chunk(op, unit, 0, worker, total);
  for (std::int64_t c = 1; c < unit.chunks; ++c) {
    chunk(op, unit, c, worker, part);
    const std::int64_t seeing = first_pair_seeing(op, segment, c) - unit.first;
    for (std::int64_t row = std::max<std::int64_t>(seeing, 0); row < unit.rows; ++row)
      merge(machine_, row, op.kv.value_dim, total, part);
  }
  for (std::int64_t row = 0; row < unit.rows; ++row) finish(op, unit, row, total);
}

// Fills in the rows of `result` that see the chunk.
void AttentionRunner::chunk(const Attention& op, const Unit& unit, std::int64_t index, int worker,
                            Result result) {
  const PagedKv& kv = op.kv;
  const Segment& segment = op.segments[static_cast<std::size_t>(unit.segment)];
  const Element element = cache_element(kv);
  const std::int64_t begin = index * kChunkTokens;
  const std::int64_t end =
      std::min(begin + kChunkTokens, visible(op, segment, unit.first + unit.rows - 1));
  const std::int64_t first =
      std::max<std::int64_t>(first_pair_seeing(op, segment, index) - unit.first, 0);
  const std::int64_t rows = unit.rows - first;
  float* scores = scratch_.data() + worker * (kScores + 2 * result_size(op));

  std::array<const float*, kUnitRows> queries{};
  std::array<float*, kUnitRows> out{};
  for (std::int64_t r = 0; r < rows; ++r) {
    queries[static_cast<std::size_t>(r)] =
        op.queries.row(row_of(op, segment, unit.kv_head, unit.first + first + r));
  }
  const std::size_t bytes = bytes_of(element);
  const bool latent = kv.values == nullptr;
  const std::int64_t value_bytes = kv.value_dim * static_cast<std::int64_t>(bytes);
  const auto at = [&](const std::byte* cache, std::int64_t token, std::int64_t dim) {
    return cache + static_cast<std::size_t>(place(kv, segment, unit.kv_head, token, dim)) * bytes;
  };
  for_page_runs(kv, begin, end, [&](std::int64_t token, std::int64_t count) {
    for (std::int64_t r = 0; r < rows; ++r)
      out[static_cast<std::size_t>(r)] = scores + r * kChunkTokens + token - begin;
    machine_.kernels.dot_products({.x = queries.data(),
                                   .rows = rows,
                                   .element = element,
                                   .weights = at(kv.keys, token, kv.key_dim),
                                   .weight_stride = kv.key_dim,
                                   .outputs = count,
                                   .columns = kv.key_dim,
                                   .bias = nullptr,
                                   .out = out.data(),
                                   .next = latent ? nullptr : at(kv.values, token, kv.value_dim),
                                   .next_bytes = latent ? 0 : count * value_bytes});
  });
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::int64_t seen = visible(op, segment, unit.first + first + r);
    ScoreExp job{.scores = scores + r * kChunkTokens,
                 .visible = std::min(seen, end) - begin,
                 .count = end - begin,
                 .scale = op.scale,
                 .largest = 0,
                 .sum = 0};
    machine_.kernels.score_exp(job);
    result.largest[first + r] = job.largest;
    result.sum[first + r] = job.sum;
  }
  float* sums = result.out + first * kv.value_dim;
  std::fill_n(sums, rows * kv.value_dim, 0.0F);
  const std::int64_t stride = latent ? kv.key_dim : kv.value_dim;
  for_page_runs(kv, begin, end, [&](std::int64_t token, std::int64_t count) {
    machine_.kernels.value_sum({.weights = scores + token - begin,
                                .weight_stride = kChunkTokens,
                                .rows = rows,
                                .element = element,
                                .values = at(latent ? kv.keys : kv.values, token, stride),
                                .value_stride = stride,
                                .tokens = count,
                                .columns = kv.value_dim,
                                .out = sums,
                                .out_stride = kv.value_dim});
  });
}

// total = total and part together.
void AttentionRunner::merge(const Machine& machine, std::int64_t row, std::int64_t value_dim,
                            Result total, Result part) {
  const float largest = std::max(total.largest[row], part.largest[row]);
  const float keep = std::exp(total.largest[row] - largest);
  const float take = std::exp(part.largest[row] - largest);
  total.largest[row] = largest;
  total.sum[row] = total.sum[row] * keep + part.sum[row] * take;
  machine.kernels.blend(total.out + row * value_dim, keep, part.out + row * value_dim, take,
                        value_dim);
}

void AttentionRunner::finish(const Attention& op, const Unit& unit, std::int64_t row,
                             Result total) const {
  const Segment& segment = op.segments[static_cast<std::size_t>(unit.segment)];
  float* out = op.out.row(row_of(op, segment, unit.kv_head, unit.first + row));
  const float* sums = total.out + row * op.kv.value_dim;
  const float factor = 1 / total.sum[row];
  for (std::int64_t d = 0; d < op.kv.value_dim; ++d) out[d] = sums[d] * factor;
}

}  // namespace krasis::cpu
