// The forms of the gated delta rule that need keys of 128 and aligned rows (cuda/delta_net.h); the
// general form is met by the conformance tests.
#include "conformance/support.h"
#include "gpu/device.h"
#include "gpu/staged_ops.h"

namespace krasis {
namespace {

using test::for_each_backend;
using test::kUntouched;
using test::relative_error;

// Chunks round operands to F16, 2^-12 of a number on average, at six places on the way to a result;
// keys that are alike make differences smaller than what they are differences of.
constexpr double kChunkTolerance = 2e-3;
// Steps are F32: sums of 128 products.
constexpr double kStepTolerance = 1e-5;

enum class Gates { Mild, None, Harsh, FewHarsh, Closed };

struct Case {
  const char* name;
  std::vector<Segment> segments;
  std::int64_t key_heads = 1, value_heads = 2, value_dim = 128;
  Gates gates = Gates::Mild;
  float value_size = 1;
  float keys_alike = 0;
  double tolerance = kChunkTolerance;
};

Segment segment(std::int64_t first_row, std::int64_t rows, std::int64_t past, std::int64_t slot) {
  return {.first_row = first_row, .rows = rows, .past = past, .slot = slot, .pages = {}};
}

std::vector<float> log_decays(Gates gates, std::int64_t count) {
  std::mt19937 random(5);
  std::uniform_real_distribution<float> share(0, 1);
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) {
    const float mild = -0.05F * share(random), harsh = -50 * share(random);
    const bool now = share(random) < 0.2F;
    value = gates == Gates::Mild       ? mild
            : gates == Gates::None     ? 0
            : gates == Gates::Harsh    ? harsh
            : gates == Gates::FewHarsh ? (now ? harsh : mild)
                                       : (now ? -1e30F : mild);
  }
  return values;
}

class Operands {
 public:
  static constexpr std::int64_t kKeyDim = 128, kSlots = 8;

  explicit Operands(const Case& given)
      : given_(given),
        tokens_(given.segments.back().first_row + given.segments.back().rows + 3),
        keys_(given.key_heads * kKeyDim),
        values_(given.value_heads * given.value_dim),
        q_(test::normal_values(tokens_ * keys_, 1, 3)),
        k_(test::normal_values(tokens_ * keys_, 2)),
        v_(test::normal_values(tokens_ * values_, 3, given.value_size)),
        decay_(log_decays(given.gates, tokens_ * given.value_heads)),
        beta_(test::normal_values(tokens_ * given.value_heads, 4)),
        state(test::normal_values(kSlots * values_ * kKeyDim, 6, 0.3F * given.value_size)),
        out(v_.size(), kUntouched) {
    test::mark_idle_slots(given.segments, kSlots, state);
    for (float& value : beta_) value = 1 / (1 + std::exp(-value));
    const std::vector<float> common = test::normal_values(keys_, 7, given.keys_alike);
    for (std::size_t i = 0; i < k_.size(); ++i) k_[i] += common[i % common.size()];
  }

  void run(Ops& ops) {
    ops.delta_net({.q = Rows(q_.data(), tokens_, keys_),
                   .k = Rows(k_.data(), tokens_, keys_),
                   .v = Rows(v_.data(), tokens_, values_),
                   .log_decay = Rows(decay_.data(), tokens_, given_.value_heads),
                   .beta = Rows(beta_.data(), tokens_, given_.value_heads),
                   .key_heads = given_.key_heads,
                   .value_heads = given_.value_heads,
                   .key_dim = kKeyDim,
                   .value_dim = given_.value_dim,
                   .state = state.data(),
                   .slots = kSlots,
                   .segments = given_.segments,
                   .out = MutableRows(out.data(), tokens_, values_)});
  }

  // The results of all segments, one after another.
  std::vector<float> results() const {
    std::vector<float> all;
    for (const Segment& part : given_.segments) {
      const auto first = out.begin() + part.first_row * values_;
      all.insert(all.end(), first, first + part.rows * values_);
    }
    return all;
  }
  bool gaps_untouched() const {
    std::size_t untouched = 0;
    for (const float value : out) untouched += value == kUntouched ? 1 : 0;
    return untouched == out.size() - results().size();
  }

 private:
  Case given_;
  std::int64_t tokens_, keys_, values_;
  std::vector<float> q_, k_, v_, decay_, beta_;

 public:
  std::vector<float> state, out;
};

void expect_agreement(Ops& ops, const std::vector<Case>& cases) {
  for (const Case& given : cases) {
    SCOPED_TRACE(given.name);
    Operands expected(given), actual(given);
    expected.run(*make_reference_ops());
    actual.run(ops);
    EXPECT_LT(relative_error(actual.results(), expected.results()), given.tolerance);
    EXPECT_LT(relative_error(actual.state, expected.state), given.tolerance);
    EXPECT_TRUE(actual.gaps_untouched());
  }
}

void expect_agreement(const std::vector<Case>& cases) {
  for_each_backend([&](Ops& ops) { expect_agreement(ops, cases); });
}

TEST(DeltaNetOnDevice, StepsAgreeWithTheOracle) {
  const double tolerance = kStepTolerance;
  expect_agreement(
      {{.name = "one token", .segments = {segment(0, 1, 4, 1)}, .tolerance = tolerance},
       {.name = "sequences",
        .segments = {segment(0, 1, 4, 1), segment(1, 8, 0, 0), segment(9, 0, 2, 5),
                     segment(10, 3, 2, 2)},
        .key_heads = 2,
        .value_heads = 4,
        .gates = Gates::FewHarsh,
        .tolerance = tolerance},
       {.name = "narrow values, closed gates",
        .segments = {segment(0, 7, 4, 1)},
        .value_heads = 3,
        .value_dim = 32,
        .gates = Gates::Closed,
        .tolerance = tolerance}});
}

TEST(DeltaNetOnDevice, ChunksAgreeWithTheOracle) {
  expect_agreement(
      {{.name = "9 tokens", .segments = {segment(0, 9, 0, 1)}},
       {.name = "one chunk", .segments = {segment(0, 64, 0, 1)}},
       {.name = "a token more", .segments = {segment(0, 65, 5, 1)}},
       {.name = "one value head a key head",
        .segments = {segment(0, 130, 5, 1)},
        .key_heads = 2,
        .value_heads = 2},
       {.name = "three value heads a key head, narrow",
        .segments = {segment(0, 130, 5, 1)},
        .key_heads = 2,
        .value_heads = 6,
        .value_dim = 64},
       {.name = "prompts and steps in one call",
        .segments = {segment(5, 9, 5, 1), segment(14, 0, 7, 5), segment(14, 1, 7, 0),
                     segment(15, 63, 0, 2), segment(80, 129, 9, 3), segment(210, 8, 9, 4),
                     segment(220, 70, 0, 6)},
        .gates = Gates::FewHarsh},
       {.name = "a long prompt", .segments = {segment(0, 2400, 5, 1)}, .value_heads = 1}});
}

TEST(DeltaNetOnDevice, ChunksComeInAsManyPartsAsScratchMemoryMakesNecessary) {
  const std::unique_ptr<Ops> small = test::make_device_ops({.scratch_bytes = 1 << 20});
  test::StagedOps staged(*small);
  expect_agreement(
      staged,
      {{.name = "one prompt", .segments = {segment(0, 2400, 5, 1)}},
       {.name = "several",
        .segments = {segment(0, 500, 0, 1), segment(500, 9, 3, 0), segment(510, 1500, 2, 2)}}});
}

TEST(DeltaNetOnDevice, ChunksAgreeWithTheOracleForAllGates) {
  for (const Gates gates : {Gates::None, Gates::Harsh, Gates::FewHarsh, Gates::Closed}) {
    expect_agreement({{.name = "random keys", .segments = {segment(0, 700, 5, 0)}, .gates = gates},
                      {.name = "keys alike",
                       .segments = {segment(0, 700, 5, 0)},
                       .gates = gates,
                       .keys_alike = 3}});
  }
}

TEST(DeltaNetOnDevice, ChunksHoldNumbersOfAnySize) {
  for (const float size : {1e-12F, 1e-3F, 1e5F, 1e15F}) {
    expect_agreement({{.name = "values", .segments = {segment(0, 200, 5, 0)}, .value_size = size}});
  }
}

// The convolution in front of it, in one call.
struct Convolved {
  static constexpr std::int64_t kKeyDim = 128, kSlots = 8, kWidth = 4, kKeyHeads = 2,
                                kValueHeads = 4, kValueDim = 64;
  static constexpr std::int64_t kKeys = kKeyHeads * kKeyDim, kValues = kValueHeads * kValueDim,
                                kChannels = 2 * kKeys + kValues;

  explicit Convolved(const std::vector<Segment>& given)
      : segments(given),
        tokens(given.back().first_row + given.back().rows + 3),
        x(test::normal_values(tokens * kChannels, 1)),
        weight(test::normal_values(kChannels * kWidth, 2)),
        decay(log_decays(Gates::FewHarsh, tokens * kValueHeads)),
        beta(tokens * kValueHeads, 0.7F),
        between(x.size()),
        conv_state(test::normal_values(kSlots * (kWidth - 1) * kChannels, 3)),
        state(test::normal_values(kSlots * kValues * kKeyDim, 4, 0.3F)),
        out(static_cast<std::size_t>(tokens * kValues), kUntouched) {
    test::mark_idle_slots(segments, kSlots, conv_state);
    test::mark_idle_slots(segments, kSlots, state);
  }

  void run(Ops& ops) {
    const MutableRows qkv(between.data(), tokens, kChannels);
    ops.conv_and_delta_net({.x = Rows(x.data(), tokens, kChannels),
                            .weight = weight,
                            .width = kWidth,
                            .state = conv_state.data(),
                            .slots = kSlots,
                            .segments = segments,
                            .out = qkv},
                           {.q = qkv.columns(0, kKeys),
                            .k = qkv.columns(kKeys, kKeys),
                            .v = qkv.columns(2 * kKeys, kValues),
                            .log_decay = Rows(decay.data(), tokens, kValueHeads),
                            .beta = Rows(beta.data(), tokens, kValueHeads),
                            .key_heads = kKeyHeads,
                            .value_heads = kValueHeads,
                            .key_dim = kKeyDim,
                            .value_dim = kValueDim,
                            .state = state.data(),
                            .slots = kSlots,
                            .segments = segments,
                            .out = MutableRows(out.data(), tokens, kValues)});
  }

  std::vector<Segment> segments;
  std::int64_t tokens;
  std::vector<float> x, weight, decay;
  std::vector<float> beta, between, conv_state, state, out;
};

void expect_same_convolved(Ops& ops, const std::vector<Segment>& segments) {
  SCOPED_TRACE(std::to_string(segments[0].rows) + " rows and " +
               std::to_string(segments.size() - 1) + " segments more");
  Convolved expected(segments), actual(segments);
  expected.run(*make_reference_ops());
  actual.run(ops);
  EXPECT_LT(relative_error(actual.out, expected.out), kChunkTolerance);
  EXPECT_LT(relative_error(actual.state, expected.state), kChunkTolerance);
  EXPECT_EQ(actual.conv_state, expected.conv_state);
}

TEST(DeltaNetOnDevice, AgreesWithItsConvolution) {
  const std::vector<std::vector<Segment>> steps = {
      {segment(0, 9, 0, 1)},
      {segment(0, 64, 0, 1)},
      {segment(0, 65, 5, 1)},
      {segment(0, 1000, 5, 7)},
      {segment(2, 33, 5, 1), segment(40, 0, 7, 5), segment(40, 63, 0, 2), segment(110, 129, 9, 3)},
      {segment(0, 1, 4, 1), segment(1, 70, 3, 0)}};
  for_each_backend([&](Ops& ops) {
    for (const std::vector<Segment>& segments : steps) expect_same_convolved(ops, segments);
  });
  const std::unique_ptr<Ops> small = test::make_device_ops({.scratch_bytes = 1 << 20});
  test::StagedOps staged(*small);
  expect_same_convolved(staged, {segment(0, 500, 0, 1), segment(500, 90, 3, 0)});
}

}  // namespace
}  // namespace krasis
