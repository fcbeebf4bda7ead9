// The oracle against numbers worked out by hand. The models' golden tests check it as a whole.
#include <cmath>
#include <limits>

#include "quant/expert_tiles.h"
#include "quant/quantize.h"
#include "unit/ops/check_support.h"

namespace krasis {
namespace {

using test::Block;
using test::plain;

const double kSiluOfOne = 1 / (1 + std::exp(-1.0));

std::vector<float> floats(std::initializer_list<double> values) {
  return {values.begin(), values.end()};
}

TEST(Reference, LooksUpEmbeddings) {
  std::vector<bf16> values = {to_bf16(1), to_bf16(2), to_bf16(3), to_bf16(4)};
  const std::vector<std::int32_t> ids = {1, 0, 1};
  Block out(3, 2);
  make_reference_ops()->embedding(
      {.ids = ids, .table = Matrix::of(view_of(std::span(values), {2, 2})), .out = out.view});
  EXPECT_EQ(out.values, floats({3, 4, 1, 2, 3, 4}));
}

TEST(Reference, NormalisesRows) {
  std::vector<float> x = {3, 4, 0, 0};
  const std::vector<float> weight = {1, 2, 1, 1};
  const MutableRows rows(x.data(), 1, 4);
  make_reference_ops()->rms_norm({.x = rows, .weight = weight, .eps = 0.25F, .out = rows});
  const double scale = 1 / std::sqrt(25.0 / 4 + 0.25);
  EXPECT_FLOAT_EQ(x[0], static_cast<float>(3 * scale));
  EXPECT_FLOAT_EQ(x[1], static_cast<float>(8 * scale));
}

TEST(Reference, GatesAfterNormalising) {
  std::vector<float> x = {1, 1}, gate = {1, 0};
  const std::vector<float> weight = {2, 2};
  const MutableRows rows(x.data(), 1, 2);
  make_reference_ops()->gated_rms_norm(
      {.x = rows, .gate = {gate.data(), 1, 2}, .weight = weight, .eps = 3, .out = rows});
  EXPECT_FLOAT_EQ(x[0], static_cast<float>(0.5 * 2 * kSiluOfOne));
  EXPECT_EQ(x[1], 0);
}

TEST(Reference, MultipliesByTheSigmoidOfOneGate) {
  std::vector<float> x = {2, 4}, gate = {0};
  make_reference_ops()->sigmoid_multiply(
      {.x = {x.data(), 1, 2}, .gate = {gate.data(), 1, 1}, .out = {x.data(), 1, 2}});
  EXPECT_EQ(x, floats({1, 2}));
}

TEST(Reference, RotatesHalvesAndNeighbours) {
  std::vector<float> x = {1, 2, 3, 4};
  std::vector<float> cosine = {0, 1}, sine = {1, 0};
  Rotary op{.x = {x.data(), 1, 4},
            .cosine = {cosine.data(), 1, 2},
            .sine = {sine.data(), 1, 2},
            .out = {x.data(), 1, 4}};
  make_reference_ops()->rotary(op);
  EXPECT_EQ(x, floats({-3, 2, 1, 4}));
  x = {1, 2, 3, 4};
  op.interleaved = true;
  make_reference_ops()->rotary(op);
  EXPECT_EQ(x, floats({-2, 1, 3, 4}));
}

TEST(Reference, MultipliesEachHeadByItsOwnMatrix) {
  Block x(4, 2), weight(4, 2), out(4, 2);
  x.values = {1, 0, 1, 0, 0, 1, 0, 1};  // tokens 2, heads 2
  weight.values = {1, 2, 3, 4, 5, 6, 7, 8};
  make_reference_ops()->head_linear(
      {.x = x.view, .weight = plain(weight), .heads = 2, .out = out.view});
  EXPECT_EQ(out.values, floats({1, 3, 5, 7, 2, 4, 6, 8}));
}

// Weights and activations that 8 bits hold exactly.
TEST(Reference, MultipliesTilesAsIfTheyWerePlain) {
  Block weight(3, 130), x(1, 130), out(1, 3), expected(1, 3);
  for (std::size_t i = 0; i < weight.values.size(); ++i)
    weight.values[i] = static_cast<float>(static_cast<int>(i * 7 % 255) - 127);
  for (std::size_t i = 0; i < x.values.size(); ++i)
    x.values[i] = static_cast<float>(static_cast<int>(i * 5 % 255) - 127);
  // Scales of exactly 1 in both groups of weights and of activations.
  for (const std::size_t row : {0U, 1U, 2U})
    weight.values[row * 130] = weight.values[row * 130 + 128] = 127;
  x.values[0] = x.values[128] = 127;

  const TileShape shape({.bits = 8, .group = 128}, 3, 130);
  std::vector<std::byte> tiles(shape.tile_bytes());
  std::vector<bf16> scales(shape.scale_bytes() / sizeof(bf16));
  quantize_strips({.dtype = DType::F32,
                   .data = reinterpret_cast<const std::byte*>(weight.values.data()),
                   .rows = 3,
                   .columns = 130},
                  {shape, tiles.data(), scales.data()}, 0, 1,
                  {.search = ScaleSearch::Nearest, .importance = {}});
  const auto ops = make_reference_ops();
  ops->linear({.x = x.view,
               .weight = Matrix::of(TileMatrix{shape, tiles.data(), scales.data()}),
               .bias = {},
               .out = out.view});
  ops->linear({.x = x.view, .weight = plain(weight), .bias = {}, .out = expected.view});
  EXPECT_EQ(out.values, expected.values);
}

TEST(Reference, AttendsToThePastThroughThePageTable) {
  // Two pages of two tokens, stored as [page 1, page 0]; keys of equal score: the mean of values.
  std::vector<float> keys(4), values = {30, 0, 10, 20};
  const PagedKv kv{.keys = reinterpret_cast<std::byte*>(keys.data()),
                   .values = reinterpret_cast<std::byte*>(values.data()),
                   .dtype = DType::F32,
                   .pages = 2,
                   .page_tokens = 2,
                   .kv_heads = 1,
                   .key_dim = 1,
                   .value_dim = 1};
  const std::vector<std::int32_t> pages = {1, 0};
  const std::vector<Segment> segments = {
      {.first_row = 0, .rows = 2, .past = 1, .slot = 0, .pages = pages}};
  Block queries(2, 1), out(2, 1);
  queries.values = {1, 1};
  make_reference_ops()->attention({.queries = queries.view,
                                   .kv = kv,
                                   .segments = segments,
                                   .heads = 1,
                                   .scale = 1,
                                   .out = out.view});
  EXPECT_EQ(out.values, floats({15, 20}));
}

TEST(Reference, WeighsValuesBySoftmax) {
  std::vector<float> keys = {0, 2}, values = {0, 1};
  const PagedKv kv{.keys = reinterpret_cast<std::byte*>(keys.data()),
                   .values = reinterpret_cast<std::byte*>(values.data()),
                   .dtype = DType::F32,
                   .pages = 1,
                   .page_tokens = 2,
                   .kv_heads = 1,
                   .key_dim = 1,
                   .value_dim = 1};
  const std::vector<std::int32_t> pages = {0};
  const std::vector<Segment> segments = {
      {.first_row = 0, .rows = 1, .past = 1, .slot = 0, .pages = pages}};
  Block queries(2, 1), out(2, 1);
  queries.values = {1, -1};  // two heads
  make_reference_ops()->attention({.queries = queries.view,
                                   .kv = kv,
                                   .segments = segments,
                                   .heads = 2,
                                   .scale = 0.5F,
                                   .out = out.view});
  EXPECT_FLOAT_EQ(out.values[0], static_cast<float>(1 / (1 + std::exp(-1.0))));
  EXPECT_FLOAT_EQ(out.values[1], static_cast<float>(1 / (1 + std::exp(1.0))));
}

TEST(Reference, AppendsKeysAndValuesBehindThePast) {
  std::vector<bf16> keys(4), values(4);
  const PagedKv kv{.keys = reinterpret_cast<std::byte*>(keys.data()),
                   .values = reinterpret_cast<std::byte*>(values.data()),
                   .dtype = DType::BF16,
                   .pages = 2,
                   .page_tokens = 2,
                   .kv_heads = 1,
                   .key_dim = 1,
                   .value_dim = 1};
  const std::vector<std::int32_t> pages = {1, 0};
  const std::vector<Segment> segments = {
      {.first_row = 0, .rows = 2, .past = 1, .slot = 0, .pages = pages}};
  std::vector<float> new_keys = {1, 2}, new_values = {3, 4};
  make_reference_ops()->kv_append({.keys = {new_keys.data(), 2, 1},
                                   .values = {new_values.data(), 2, 1},
                                   .kv = kv,
                                   .segments = segments});
  EXPECT_EQ(keys, (std::vector<bf16>{to_bf16(2), {}, {}, to_bf16(1)}));
  EXPECT_EQ(values, (std::vector<bf16>{to_bf16(4), {}, {}, to_bf16(3)}));
}

TEST(Reference, ConvolvesOverTheKeptInputs) {
  std::vector<float> state = {5, 7}, x = {1, 10}, out(2);
  const std::vector<float> weight = {100, 10, 1};
  std::vector<Segment> segments = {{.first_row = 0, .rows = 2, .past = 9, .slot = 0, .pages = {}}};
  const auto ops = make_reference_ops();
  CausalConv op{.x = {x.data(), 2, 1},
                .weight = weight,
                .width = 3,
                .state = state.data(),
                .slots = 1,
                .segments = segments,
                .out = {out.data(), 2, 1}};
  ops->causal_conv(op);  // silu(571) and silu(720) are the sums themselves
  EXPECT_EQ(out, floats({571, 720}));
  EXPECT_EQ(state, floats({1, 10}));
  segments[0].past = 0;
  ops->causal_conv(op);
  EXPECT_FLOAT_EQ(out[0], static_cast<float>(kSiluOfOne));
  EXPECT_FLOAT_EQ(out[1], 20);
}

TEST(Reference, ComputesTheDeltaNetsGates) {
  std::vector<float> a = {0, 100}, b = {0, 0};
  const std::vector<float> a_log = {0, 0}, dt_bias = {0, 1};
  make_reference_ops()->delta_gates({.a = {a.data(), 1, 2},
                                     .b = {b.data(), 1, 2},
                                     .a_log = a_log,
                                     .dt_bias = dt_bias,
                                     .log_decay = {a.data(), 1, 2},
                                     .beta = {b.data(), 1, 2}});
  EXPECT_FLOAT_EQ(a[0], static_cast<float>(-std::log(2.0)));
  EXPECT_FLOAT_EQ(a[1], -101);
  EXPECT_EQ(b, floats({0.5, 0.5}));
}

// Keys of length 1 and a decay of 1/2: the state and what is read from it can be followed by hand.
TEST(Reference, RemembersByTheDeltaRule) {
  std::vector<float> q = {1, 0, 1, 0}, k = {1, 0, 1, 0}, v = {8, 8}, out(2);
  std::vector<float> decay = {0, static_cast<float>(-std::log(2.0))}, beta = {1, 0.5F};
  std::vector<float> state = {99, 99};
  const std::vector<Segment> segments = {
      {.first_row = 0, .rows = 2, .past = 0, .slot = 0, .pages = {}}};
  make_reference_ops()->delta_net({.q = {q.data(), 2, 2},
                                   .k = {k.data(), 2, 2},
                                   .v = {v.data(), 2, 1},
                                   .log_decay = {decay.data(), 2, 1},
                                   .beta = {beta.data(), 2, 1},
                                   .key_heads = 1,
                                   .value_heads = 1,
                                   .key_dim = 2,
                                   .value_dim = 1,
                                   .state = state.data(),
                                   .slots = 1,
                                   .segments = segments,
                                   .out = {out.data(), 2, 1}});
  // S = 8; then S = 4 + 0.5 * (8 - 4) = 6. The norm's 1e-6 and q's 1 / sqrt(2) are what is left.
  EXPECT_NEAR(out[0], 8 / std::sqrt(2.0), 1e-4);
  EXPECT_NEAR(out[1], 6 / std::sqrt(2.0), 1e-4);
  EXPECT_NEAR(state[0], 6, 1e-4);
  EXPECT_EQ(state[1], 0);
}

struct Routed {
  std::vector<std::int32_t> ids;
  std::vector<float> weights;
};
Routed routed(std::vector<float> logits, const std::vector<float>& bias, const Routing& routing) {
  Routed result{std::vector<std::int32_t>(static_cast<std::size_t>(routing.top_k)),
                std::vector<float>(static_cast<std::size_t>(routing.top_k))};
  make_reference_ops()->route({.logits = {logits.data(), 1, routing.experts},
                               .bias = bias,
                               .routing = routing,
                               .ids = result.ids,
                               .weights = result.weights});
  return result;
}

TEST(Reference, RoutesBySoftmax) {
  const float log_two = std::log(2.0F);
  const auto [ids, weights] =
      routed({0, log_two, 0, 0}, {}, {.experts = 4, .top_k = 2, .normalize = false});
  EXPECT_EQ(ids, (std::vector<std::int32_t>{1, 0}));  // the lowest of three equal ones
  EXPECT_FLOAT_EQ(weights[0], 0.4F);
  EXPECT_FLOAT_EQ(weights[1], 0.2F);
}

TEST(Reference, RoutesByBiasButWeighsByScore) {
  const auto [ids, weights] =
      routed({0, 100, 0, 100}, {5, 0, 0, 0},
             {.experts = 4, .top_k = 2, .scoring = Scoring::Sigmoid, .scale = 3});
  EXPECT_EQ(ids, (std::vector<std::int32_t>{0, 1}));
  EXPECT_FLOAT_EQ(weights[0], 1);
  EXPECT_FLOAT_EQ(weights[1], 2);
}

TEST(Reference, ChoosesFromTheBestGroupsOnly) {
  const std::vector<float> logits = {3, -9, 2, 2, 1, 1};
  Routing routing{.experts = 6,
                  .top_k = 2,
                  .scoring = Scoring::Softmax,
                  .groups = 3,
                  .top_groups = 1,
                  .group_score = GroupScore::Max};
  EXPECT_EQ(routed(logits, {}, routing).ids, (std::vector<std::int32_t>{0, 1}));
  routing.scoring = Scoring::Sigmoid;
  routing.group_score = GroupScore::TopTwoSum;
  EXPECT_EQ(routed(logits, {}, routing).ids, (std::vector<std::int32_t>{2, 3}));
}

TEST(Reference, RoutesEvenNanToExpertsThatExist) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto ids = routed({nan, 1, nan}, {}, {.experts = 3, .top_k = 3}).ids;
  EXPECT_EQ(ids, (std::vector<std::int32_t>{0, 1, 2}));  // softmax made all of them NaN
  EXPECT_EQ(routed({nan, 1, nan}, {}, {.experts = 3, .top_k = 2, .scoring = Scoring::Sigmoid}).ids,
            (std::vector<std::int32_t>{1, 0}));
}

TEST(Reference, AddsTheChosenExperts) {
  Block gate(1, 1), up(1, 1), down(1, 1), other(1, 1), x(1, 1), out(1, 1);
  gate.values = {1}, up.values = {2}, down.values = {3}, other.values = {30}, x.values = {1};
  const std::vector<Matrix> gates(2, plain(gate)), ups(2, plain(up)),
      downs = {plain(down), plain(other)};
  const std::vector<std::int32_t> ids = {1, 0};
  const std::vector<float> weights = {0.5F, 2};
  make_reference_ops()->experts({.x = x.view,
                                 .ids = ids,
                                 .weights = weights,
                                 .top_k = 2,
                                 .matrices = {.experts = 2,
                                              .hidden = 1,
                                              .intermediate = 1,
                                              .gate = gates.data(),
                                              .up = ups.data(),
                                              .down = downs.data(),
                                              .tiled = std::nullopt},
                                 .out = out.view});
  EXPECT_FLOAT_EQ(out.values[0], static_cast<float>(kSiluOfOne * 2 * (0.5 * 30 + 2 * 3)));
}

TEST(Ops, DoNothingForNoRows) {
  const auto ops = make_reference_ops();
  const std::vector<float> weight(4);
  ops->rms_norm({.x = {nullptr, 0, 4}, .weight = weight, .eps = 1, .out = {nullptr, 0, 4}});
  ops->add({.x = {nullptr, 0, 4}, .y = {nullptr, 0, 4}, .out = {nullptr, 0, 4}});
  EXPECT_EQ(ops->name(), "reference");
}

}  // namespace
}  // namespace krasis
