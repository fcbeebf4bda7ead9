// Routing and the experts' feed-forward networks.
#pragma once

#include <span>

#include "ops/matrix.h"
#include "ops/product_rows.h"
#include "tensor/tensor.h"

namespace krasis {

enum class Scoring : std::uint8_t { Softmax, Sigmoid };

// How a group of experts is judged when only some groups may be chosen from.
enum class GroupScore : std::uint8_t { Max, TopTwoSum };

struct Routing {
  std::int64_t experts = 0;
  std::int64_t top_k = 0;
  Scoring scoring = Scoring::Softmax;
  std::int64_t groups = 1;      // experts form this many groups of equal size ...
  std::int64_t top_groups = 1;  // ... and only these many best groups are chosen from
  GroupScore group_score = GroupScore::TopTwoSum;
  bool normalize = true;  // divide the chosen scores by their sum (+ 1e-20)
  float scale = 1;        // then multiply
};

// score = softmax or sigmoid of the logits; choice = score + bias (bias only chooses); groups other
// than the best top_groups are left out; the top_k experts by choice, best first (on a tie the
// lower number; NaN counts as least), with weight = score, normalised and scaled.
struct Route {
  Rows logits;                  // [tokens, experts]
  std::span<const float> bias;  // [experts], or empty
  Routing routing;
  std::span<std::int32_t> ids;  // [tokens, top_k]
  std::span<float> weights;     // [tokens, top_k]
};

// out[t] = sum_j weights[t, j] * expert[ids[t, j]](x[t]);  expert as in ops/matrix.h. An id of -1
// adds nothing: somebody else computes that expert.
// With tiles, x and the product silu(gate) * up are quantized as in ops/linear.h. x and out do not
// overlap. Throws InvalidArgument if an id is outside [-1, experts); [0, 1) of a single expert,
// which is a dense network and takes every token.
struct Experts {
  ProductRows x;                      // [tokens, hidden], in a form that Ops::form_for() allows
  std::span<const std::int32_t> ids;  // [tokens, top_k]
  std::span<const float> weights;     // [tokens, top_k]
  std::int64_t top_k = 0;
  ExpertMatrices matrices;
  MutableRows out;  // [tokens, hidden]
};

void check(const Route& op);
void check(const Experts& op);
void check_shapes(const Experts& op);  // all but what ids holds

}  // namespace krasis
