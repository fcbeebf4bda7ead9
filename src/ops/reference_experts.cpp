#include <algorithm>
#include <limits>
#include <numeric>

#include "ops/reference.h"
#include "quant/expert_tiles.h"

namespace krasis::reference {
namespace {

constexpr double kNormFloor = 1e-20;  // ops/experts.h

std::vector<double> scores_of(const Route& op, std::int64_t token) {
  const float* logits = op.logits.row(token);
  std::vector<double> scores(static_cast<std::size_t>(op.routing.experts));
  if (op.routing.scoring == Scoring::Sigmoid) {
    std::transform(logits, logits + scores.size(), scores.begin(),
                   [](float logit) { return sigmoid(double{logit}); });
    return scores;
  }
  const double largest = *std::max_element(logits, logits + scores.size());
  std::transform(logits, logits + scores.size(), scores.begin(),
                 [&](float logit) { return std::exp(double{logit} - largest); });
  const double sum = std::accumulate(scores.begin(), scores.end(), 0.0);
  for (double& score : scores) score /= sum;
  return scores;
}

// The `count` largest, largest first, lower index first on a tie.
std::vector<std::size_t> best(const std::vector<double>& values, std::int64_t count) {
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return values[a] > values[b]; });
  order.resize(static_cast<std::size_t>(count));
  return order;
}

double group_score(std::span<const double> choices, GroupScore how) {
  std::vector<double> sorted(choices.begin(), choices.end());
  std::sort(sorted.rbegin(), sorted.rend());
  return how == GroupScore::Max || sorted.size() == 1 ? sorted[0] : sorted[0] + sorted[1];
}

// Takes the experts of all but the best groups out of the choice.
void keep_best_groups(std::vector<double>& choices, const Routing& routing) {
  const auto groups = static_cast<std::size_t>(routing.groups);
  const std::size_t size = choices.size() / groups;
  std::vector<double> scores(groups);
  for (std::size_t g = 0; g < groups; ++g)
    scores[g] = group_score(std::span(choices).subspan(g * size, size), routing.group_score);
  std::vector<double> kept(choices.size(), -std::numeric_limits<double>::infinity());
  for (const std::size_t g : best(scores, routing.top_groups))
    std::copy_n(choices.data() + g * size, size, kept.data() + g * size);
  choices = kept;
}

Matrix matrix_of(const TileShape& shape, const std::byte* tiles, const std::byte* scales) {
  return Matrix::of(TileMatrix{shape, tiles, reinterpret_cast<const bf16*>(scales)});
}

std::vector<double> activate(const std::vector<double>& gate, const std::vector<double>& up) {
  std::vector<double> product(gate.size());
  std::transform(gate.begin(), gate.end(), up.begin(), product.begin(),
                 [](double g, double u) { return silu(g) * u; });
  return product;
}

// w2 times the activated product, which is not rounded on the way.
std::vector<double> plain_expert(const ExpertMatrices& matrices, std::int64_t expert,
                                 std::span<const float> x) {
  const std::vector<double> product =
      activate(multiply(matrices.gate[expert], 0, matrices.intermediate, x),
               multiply(matrices.up[expert], 0, matrices.intermediate, x));
  std::vector<double> out(static_cast<std::size_t>(matrices.hidden));
  for (std::int64_t n = 0; n < matrices.hidden; ++n) {
    for (std::int64_t k = 0; k < matrices.intermediate; ++k) {
      out[static_cast<std::size_t>(n)] +=
          product[static_cast<std::size_t>(k)] * element(matrices.down[expert], n, k);
    }
  }
  return out;
}

std::vector<double> tiled_expert(const ExpertMatrices& matrices, std::int64_t expert,
                                 std::span<const float> x) {
  const ExpertMatrices::Tiled& tiled = *matrices.tiled;
  const std::byte* base = tiled.base + static_cast<std::size_t>(expert) * tiled.expert_bytes;
  const Matrix w13 = matrix_of(tiled.w13, base + tiled.w13_tiles, base + tiled.w13_scales);
  const Matrix w2 = matrix_of(tiled.w2, base + tiled.w2_tiles, base + tiled.w2_scales);
  const std::vector<double> both = multiply(w13, 0, w13.rows, x);
  std::vector<double> gate;
  std::vector<double> up;
  for (std::int64_t r = 0; r < matrices.intermediate; ++r) {
    gate.push_back(both[static_cast<std::size_t>(w13_gate_row(r))]);
    up.push_back(both[static_cast<std::size_t>(w13_up_row(r))]);
  }
  const std::vector<double> product = activate(gate, up);
  std::vector<float> rounded(product.begin(), product.end());
  rounded.resize(static_cast<std::size_t>(w2.columns));
  return multiply(w2, 0, w2.rows, rounded);
}

}  // namespace

void route(const Route& op) {
  const Routing& routing = op.routing;
  for (std::int64_t t = 0; t < op.logits.rows; ++t) {
    const std::vector<double> scores = scores_of(op, t);
    std::vector<double> choices = scores;
    for (std::size_t e = 0; e < op.bias.size(); ++e) choices[e] += double{op.bias[e]};
    // A NaN is chosen last.
    for (double& choice : choices)
      if (std::isnan(choice)) choice = -std::numeric_limits<double>::infinity();
    if (routing.top_groups < routing.groups) keep_best_groups(choices, routing);

    const std::vector<std::size_t> chosen = best(choices, routing.top_k);
    double sum = kNormFloor;
    for (const std::size_t e : chosen) sum += scores[e];
    for (std::size_t j = 0; j < chosen.size(); ++j) {
      const std::size_t at = static_cast<std::size_t>(t * routing.top_k) + j;
      const double share = routing.normalize ? scores[chosen[j]] / sum : scores[chosen[j]];
      op.ids[at] = static_cast<std::int32_t>(chosen[j]);
      op.weights[at] = static_cast<float>(share * double{routing.scale});
    }
  }
}

void experts(const Experts& op) {
  const auto hidden = static_cast<std::size_t>(op.matrices.hidden);
  for (std::int64_t t = 0; t < op.x.rows; ++t) {
    std::vector<double> sum(hidden);
    for (std::int64_t j = 0; j < op.top_k; ++j) {
      const auto at = static_cast<std::size_t>(t * op.top_k + j);
      if (op.ids[at] < 0) continue;
      const std::span x(op.x.row(t), hidden);
      const std::vector<double> y = op.matrices.tiled.has_value()
                                        ? tiled_expert(op.matrices, op.ids[at], x)
                                        : plain_expert(op.matrices, op.ids[at], x);
      for (std::size_t d = 0; d < hidden; ++d) sum[d] += double{op.weights[at]} * y[d];
    }
    std::transform(sum.begin(), sum.end(), op.out.row(t),
                   [](double value) { return static_cast<float>(value); });
  }
}

}  // namespace krasis::reference
