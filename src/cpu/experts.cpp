#include "cpu/experts.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "cpu/linear.h"

namespace krasis::cpu {
namespace {

constexpr float kNormFloor = 1e-20F;  // ops/experts.h
constexpr float kNever = -std::numeric_limits<float>::infinity();

// The numbers of the largest values, largest first, the lower number first on a tie.
void choose(std::span<const float> values, std::span<std::int32_t> best) {
  std::size_t chosen = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto value_of = [&](std::size_t place) {
      return values[static_cast<std::size_t>(best[place])];
    };
    if (chosen == best.size() && !(values[i] > value_of(chosen - 1))) continue;
    std::size_t place = chosen < best.size() ? chosen++ : chosen - 1;
    for (; place > 0 && values[i] > value_of(place - 1); --place) best[place] = best[place - 1];
    best[place] = static_cast<std::int32_t>(i);
  }
}

float group_score(std::span<const float> choices, GroupScore how) {
  float first = kNever;
  float second = kNever;
  for (const float choice : choices) {
    second = std::max(second, std::min(first, choice));
    first = std::max(first, choice);
  }
  return how == GroupScore::Max || choices.size() == 1 ? first : first + second;
}

// Makes the experts of all but the best groups impossible to choose. `memory` [2 * groups].
void keep_best_groups(const Routing& routing, std::span<float> choices, float* memory) {
  const auto groups = static_cast<std::size_t>(routing.groups);
  const std::size_t size = choices.size() / groups;
  const std::span scores(memory, groups);
  const std::span best(reinterpret_cast<std::int32_t*>(memory + groups),
                       static_cast<std::size_t>(routing.top_groups));
  for (std::size_t g = 0; g < groups; ++g)
    scores[g] = group_score(choices.subspan(g * size, size), routing.group_score);
  choose(scores, best);
  for (std::size_t g = 0; g < groups; ++g) {
    if (std::find(best.begin(), best.end(), static_cast<std::int32_t>(g)) == best.end())
      std::fill_n(choices.data() + g * size, size, kNever);
  }
}

// Scores of all experts, and the factor that is still missing.
float scores_of(const Machine& machine, const Route& op, std::int64_t token, float* scores) {
  const float* logits = op.logits.row(token);
  const std::int64_t experts = op.routing.experts;
  if (op.routing.scoring == Scoring::Sigmoid) {
    for (std::int64_t e = 0; e < experts; ++e) scores[e] = 1 / (1 + std::exp(-logits[e]));
    return 1;
  }
  std::copy_n(logits, experts, scores);
  ScoreExp job{
      .scores = scores, .visible = experts, .count = experts, .scale = 1, .largest = 0, .sum = 0};
  machine.kernels.score_exp(job);
  return 1 / job.sum;
}

void route_token(const Machine& machine, const Route& op, std::int64_t token, float* memory) {
  const Routing& routing = op.routing;
  const auto experts = static_cast<std::size_t>(routing.experts);
  const auto top_k = static_cast<std::size_t>(routing.top_k);
  const std::span scores(memory, experts);
  const std::span choices(memory + experts, experts);
  const float factor = scores_of(machine, op, token, scores.data());
  for (std::size_t e = 0; e < experts; ++e) {
    scores[e] *= factor;
    choices[e] = op.bias.empty() ? scores[e] : scores[e] + op.bias[e];
    if (std::isnan(choices[e])) choices[e] = kNever;
  }
  if (routing.top_groups < routing.groups) keep_best_groups(routing, choices, memory + 2 * experts);

  const auto ids = op.ids.subspan(static_cast<std::size_t>(token) * top_k, top_k);
  const auto weights = op.weights.subspan(static_cast<std::size_t>(token) * top_k, top_k);
  choose(choices, ids);
  float sum = kNormFloor;
  for (std::size_t j = 0; j < top_k; ++j) {
    weights[j] = scores[static_cast<std::size_t>(ids[j])];
    sum += weights[j];
  }
  for (float& weight : weights)
    weight = (routing.normalize ? weight / sum : weight) * routing.scale;
}

}  // namespace

void Router::run(const Route& op) {
  const std::int64_t memory = 2 * op.routing.experts + 2 * op.routing.groups;
  scratch_.reserve(machine_.pool.size() * memory);
  constexpr double kExpertNs = 4;
  for_tasks(machine_.pool, op.logits.rows, kExpertNs * static_cast<double>(op.routing.experts),
            [&](int worker, std::int64_t token) {
              route_token(machine_, op, token, scratch_.data() + worker * memory);
            });
}

// Rows of one expert that one job takes.
struct PlainExperts::Block {
  std::int64_t expert, first_row, rows;
};

PlainExperts::PlainExperts(const Machine& machine) : machine_(machine) {}
PlainExperts::~PlainExperts() = default;

void PlainExperts::run(const Experts& op) {
  constexpr std::int64_t kMaxBytes = 256 << 20;  // of products between the matrices
  const std::int64_t token_bytes = op.top_k * (op.matrices.hidden + 2 * op.matrices.intermediate) *
                                   static_cast<std::int64_t>(sizeof(float));
  const std::int64_t chunk = std::max<std::int64_t>(kMaxBytes / token_bytes, 1);
  for (std::int64_t first = 0; first < op.x.rows; first += chunk)
    run_tokens(op, first, std::min(chunk, op.x.rows - first));
}

// Sorts the (token, j) pairs by expert, keeping their order within one.
void PlainExperts::sort_by_expert(const Experts& op, std::int64_t first, std::int64_t count) {
  const auto ids = op.ids.subspan(static_cast<std::size_t>(first * op.top_k),
                                  static_cast<std::size_t>(count * op.top_k));
  row_ends_.assign(static_cast<std::size_t>(op.matrices.experts), 0);
  for (const std::int32_t id : ids)
    if (id >= 0) ++row_ends_[static_cast<std::size_t>(id)];
  blocks_.clear();
  std::int64_t row = 0;
  for (std::size_t e = 0; e < row_ends_.size(); ++e) {
    const std::int64_t end = row + row_ends_[e];
    row_ends_[e] = row;
    for (; row < end; row += blocks_.back().rows)
      blocks_.push_back({static_cast<std::int64_t>(e), row, std::min(kProductRows, end - row)});
  }
  pairs_.resize(static_cast<std::size_t>(row));
  for (std::size_t n = 0; n < ids.size(); ++n) {
    if (ids[n] < 0) continue;
    std::int64_t& end = row_ends_[static_cast<std::size_t>(ids[n])];
    pairs_[static_cast<std::size_t>(end++)] = static_cast<std::int64_t>(n);
  }
}

// Calls work(block, first output, outputs) until every block has all its outputs.
template <class Work>
void PlainExperts::for_blocks(const Experts& op, std::int64_t outputs, std::int64_t columns,
                              Work&& work) {
  const Element element = element_of(op.matrices.gate[0].format);
  const auto blocks = static_cast<std::int64_t>(blocks_.size());
  if (blocks == 0) return;
  const std::int64_t step = product_outputs(element, outputs, blocks, machine_.pool.size());
  const std::int64_t pieces = (outputs + step - 1) / step;
  const std::int64_t mean_rows = static_cast<std::int64_t>(pairs_.size()) / blocks;
  for_tasks(machine_.pool, blocks * pieces, product_ns(element, mean_rows, step, columns),
            [&](int /*worker*/, std::int64_t task) {
              const std::int64_t output = task % pieces * step;
              work(blocks_[static_cast<std::size_t>(task / pieces)], output,
                   std::min(step, outputs - output));
            });
}

void PlainExperts::run_tokens(const Experts& op, std::int64_t first, std::int64_t count) {
  const ExpertMatrices& matrices = op.matrices;
  const std::int64_t intermediate = matrices.intermediate;
  const std::int64_t hidden = matrices.hidden;
  const std::int64_t rows = count * op.top_k;
  sort_by_expert(op, first, count);
  float* gates = gates_.reserve(rows * intermediate);
  float* ups = ups_.reserve(rows * intermediate);
  float* outputs = outputs_.reserve(rows * hidden);
  using Pointers = std::array<float*, kProductRows>;
  using Inputs = std::array<const float*, kProductRows>;
  const auto multiply = [&](const Matrix& matrix, std::int64_t output, std::int64_t output_count,
                            const Block& block, const Inputs& x, const Pointers& out) {
    const Element element = element_of(matrix.format);
    const auto start = static_cast<std::size_t>(output * matrix.columns) * bytes_of(element);
    machine_.kernels.dot_products({.x = x.data(),
                                   .rows = block.rows,
                                   .element = element,
                                   .weights = matrix.data + start,
                                   .weight_stride = matrix.columns,
                                   .outputs = output_count,
                                   .columns = matrix.columns,
                                   .bias = nullptr,
                                   .out = out.data()});
  };

  for_blocks(op, intermediate, 2 * hidden,
             [&](const Block& block, std::int64_t at, std::int64_t n) {
               Inputs x{};
               Pointers gate{};
               Pointers up{};
               for (std::int64_t r = 0; r < block.rows; ++r) {
                 const auto i = static_cast<std::size_t>(r);
                 const std::int64_t row = block.first_row + r;
                 x[i] = op.x.row(first + pairs_[static_cast<std::size_t>(row)] / op.top_k);
                 gate[i] = gates + row * intermediate + at;
                 up[i] = ups + row * intermediate + at;
               }
               multiply(matrices.gate[block.expert], at, n, block, x, gate);
               multiply(matrices.up[block.expert], at, n, block, x, up);
               for (std::size_t i = 0; i < static_cast<std::size_t>(block.rows); ++i)
                 machine_.kernels.silu_multiply(gate[i], up[i], n, gate[i]);
             });
  for_blocks(op, hidden, intermediate, [&](const Block& block, std::int64_t at, std::int64_t n) {
    Inputs x{};
    Pointers out{};
    for (std::int64_t r = 0; r < block.rows; ++r) {
      const auto i = static_cast<std::size_t>(r);
      const std::int64_t row = block.first_row + r;
      x[i] = gates + row * intermediate;
      out[i] = outputs + pairs_[static_cast<std::size_t>(row)] * hidden + at;
    }
    multiply(matrices.down[block.expert], at, n, block, x, out);
  });
  const double token_ns = 0.2 * static_cast<double>(op.top_k * hidden);
  for_tasks(machine_.pool, count, token_ns, [&](int /*worker*/, std::int64_t token) {
    float* out = op.out.row(first + token);
    std::fill_n(out, hidden, 0.0F);
    for (std::int64_t j = 0; j < op.top_k; ++j) {
      const std::int64_t pair = token * op.top_k + j;
      const auto at = static_cast<std::size_t>(first * op.top_k + pair);
      if (op.ids[at] < 0) continue;
      machine_.kernels.blend(out, 1, outputs + pair * hidden, op.weights[at], hidden);
    }
  });
}

}  // namespace krasis::cpu
