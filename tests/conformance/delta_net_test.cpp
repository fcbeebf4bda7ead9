#include "conformance/support.h"

namespace krasis {
namespace {

using test::absolute;
using test::expect_near;
using test::for_each_backend;
using test::kUlp;
using test::mark_idle_slots;
using test::normal_values;
using test::relative_error;
using test::rounded;
using test::StridedRows;

// Four sequences; one starts anew in a slot that is not empty, one has no tokens.
std::vector<Segment> segments() {
  return {{.first_row = 0, .rows = 1, .past = 9, .slot = 3, .pages = {}},
          {.first_row = 1, .rows = 0, .past = 9, .slot = 1, .pages = {}},
          {.first_row = 2, .rows = 45, .past = 0, .slot = 0, .pages = {}},
          {.first_row = 47, .rows = 2, .past = 1, .slot = 2, .pages = {}}};
}
constexpr std::int64_t kDeltaTokens = 50;  // rows 1 and 49 belong to nobody
constexpr std::int64_t kSlots = 5;

TEST(Conformance, CausalConv) {
  for (const std::int64_t channels : {1, 7, 64, 260, 600}) {
    for (const std::int64_t width : {1, 2, 4, 5}) {
      const auto all = segments();
      const auto values = normal_values(kDeltaTokens * channels, 1);
      const auto weight = normal_values(channels * width, 2);
      auto before = normal_values(kSlots * (width - 1) * channels + 1, 3);
      mark_idle_slots(all, kSlots, before);
      auto expected_state = before;
      StridedRows x(kDeltaTokens, channels, values), expected(kDeltaTokens, channels);
      CausalConv op{.x = x.view(),
                    .weight = weight,
                    .width = width,
                    .state = expected_state.data(),
                    .slots = kSlots,
                    .segments = all,
                    .out = expected.view()};
      make_reference_ops()->causal_conv(op);
      // Up to five products below 25 each; silu's slope is at most 1.1.
      const std::vector<float> magnitude(values.size(), 5 * 25);
      for_each_backend([&](Ops& ops) {
        auto state = before;
        StridedRows actual(kDeltaTokens, channels);
        op.state = state.data();
        op.out = actual.view();
        ops.causal_conv(op);
        expect_near(actual.values(), expected.values(), magnitude, 4 * kUlp);
        EXPECT_LT(relative_error(actual.values(), expected.values()), 1e-6);
        EXPECT_EQ(state, expected_state);
        EXPECT_TRUE(actual.gaps_untouched());
      });
    }
  }
}

TEST(Conformance, DeltaGates) {
  const std::int64_t heads = 13;
  StridedRows a(20, heads, normal_values(20 * heads, 4, 8)),
      b(20, heads, normal_values(20 * heads, 5, 8)), decay(20, heads), beta(20, heads);
  const auto a_log = normal_values(heads, 6);
  const auto dt_bias = normal_values(heads, 7);
  DeltaGates op{.a = a.view(),
                .b = b.view(),
                .a_log = a_log,
                .dt_bias = dt_bias,
                .log_decay = decay.view(),
                .beta = beta.view()};
  make_reference_ops()->delta_gates(op);
  // exp() and log1p() to a unit each; a + dt_bias is below 64 and rounds by half a unit of it,
  // which softplus, where it is small, turns into a relative error.
  const double tolerance = (64 / 2 + 8) * kUlp;
  for_each_backend([&](Ops& ops) {
    StridedRows actual_decay(20, heads, a.values()), actual_beta(20, heads, b.values());
    op.a = op.log_decay = actual_decay.view();
    op.b = op.beta = actual_beta.view();
    ops.delta_gates(op);
    expect_near(actual_decay.values(), decay.values(), decay.values(), tolerance);
    expect_near(actual_beta.values(), beta.values(), beta.values(), tolerance);
    EXPECT_TRUE(actual_decay.gaps_untouched() && actual_beta.gaps_untouched());
  });
}

struct Heads {
  std::int64_t key_heads, value_heads, key_dim, value_dim;
};

class DeltaCase {
 public:
  explicit DeltaCase(const Heads& heads, std::int64_t tokens = kDeltaTokens)
      : heads_(heads),
        before(normal_values(kSlots * heads.value_heads * heads.key_dim * heads.value_dim, 8)),
        q_(tokens, heads.key_heads * heads.key_dim,
           normal_values(tokens * heads.key_heads * heads.key_dim, 9)),
        k_(tokens, heads.key_heads * heads.key_dim,
           normal_values(tokens * heads.key_heads * heads.key_dim, 10)),
        v_(tokens, heads.value_heads * heads.value_dim,
           normal_values(tokens * heads.value_heads * heads.value_dim, 11)),
        decay_(tokens, heads.value_heads, negative(normal_values(tokens * heads.value_heads, 12))),
        beta_(tokens, heads.value_heads, shares(normal_values(tokens * heads.value_heads, 13))) {}

  DeltaNet op(std::span<const Segment> all, std::vector<float>& state, StridedRows& out) {
    return {.q = q_.view(),
            .k = k_.view(),
            .v = v_.view(),
            .log_decay = decay_.view(),
            .beta = beta_.view(),
            .key_heads = heads_.key_heads,
            .value_heads = heads_.value_heads,
            .key_dim = heads_.key_dim,
            .value_dim = heads_.value_dim,
            .state = state.data(),
            .slots = kSlots,
            .segments = all,
            .out = out.view()};
  }

 private:
  static std::vector<float> negative(std::vector<float> values) {
    for (float& value : values) value = -std::abs(value);
    return values;
  }
  static std::vector<float> shares(std::vector<float> values) {
    for (float& value : values) value = 1 / (1 + std::exp(-value));
    return values;
  }
  Heads heads_;

 public:
  std::vector<float> before;

 private:
  StridedRows q_, k_, v_, decay_, beta_;
};

// The rule forgets: an error of one token fades as the state does, so that what is left is a few
// times one token's, which is a sum of key_dim products of numbers below 1 and values below 6.
TEST(Conformance, DeltaNet) {
  for (const Heads& heads : {Heads{1, 1, 1, 1}, Heads{2, 4, 8, 8}, Heads{1, 3, 13, 37},
                             Heads{2, 2, 128, 128}, Heads{1, 2, 64, 100}}) {
    SCOPED_TRACE("key_dim " + std::to_string(heads.key_dim));
    const auto all = segments();
    DeltaCase given(heads);
    mark_idle_slots(all, kSlots, given.before);
    auto expected_state = given.before;
    StridedRows expected(kDeltaTokens, heads.value_heads * heads.value_dim);
    make_reference_ops()->delta_net(given.op(all, expected_state, expected));
    const double tolerance = (static_cast<double>(heads.key_dim) / 2 + 16) * kUlp;
    const std::vector<float> magnitude(expected.values().size(), 6);
    const std::vector<float> state_magnitude(expected_state.size(), 6);
    for_each_backend([&](Ops& ops) {
      auto state = given.before;
      StridedRows actual(kDeltaTokens, heads.value_heads * heads.value_dim);
      ops.delta_net(given.op(all, state, actual));
      expect_near(actual.values(), expected.values(), magnitude, rounded(tolerance));
      expect_near(state, expected_state, state_magnitude, rounded(tolerance));
      EXPECT_LT(relative_error(actual.values(), expected.values()), rounded(2e-6));
      EXPECT_LT(relative_error(state, expected_state), rounded(2e-6));
      EXPECT_TRUE(actual.gaps_untouched());
    });
  }
}

TEST(Conformance, DeltaNetForgetsWithNearlyEqualKeys) {
  const Heads heads{1, 1, 32, 32};
  const std::vector<Segment> all = {
      {.first_row = 0, .rows = 50, .past = 0, .slot = 0, .pages = {}}};
  // Keys of zero length, and a decay of e^-200, which leaves nothing.
  StridedRows zero(50, 32, std::vector<float>(50 * 32, 0)), v(50, 32, normal_values(50 * 32, 1)),
      gate(50, 1, std::vector<float>(50, -200)), beta(50, 1, std::vector<float>(50, 1));
  for_each_backend([&](Ops& ops) {
    std::vector<float> state(32 * 32, 5);
    StridedRows out(50, 32);
    ops.delta_net({.q = zero.view(),
                   .k = zero.view(),
                   .v = v.view(),
                   .log_decay = gate.view(),
                   .beta = beta.view(),
                   .key_heads = heads.key_heads,
                   .value_heads = heads.value_heads,
                   .key_dim = heads.key_dim,
                   .value_dim = heads.value_dim,
                   .state = state.data(),
                   .slots = 1,
                   .segments = all,
                   .out = out.view()});
    EXPECT_EQ(out.values(), std::vector<float>(50 * 32, 0));
    EXPECT_EQ(state, std::vector<float>(32 * 32, 0));
  });
}

}  // namespace
}  // namespace krasis
