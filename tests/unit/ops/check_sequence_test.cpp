#include <limits>

#include "ops/latent_attention.h"
#include "unit/ops/check_support.h"

namespace krasis {
namespace {

using test::Block;
using test::complaint;

struct Cache {
  std::vector<float> keys = std::vector<float>(4 * 2 * 4 * 8);
  std::vector<float> values = std::vector<float>(4 * 2 * 4 * 6);
  PagedKv view{.keys = reinterpret_cast<std::byte*>(keys.data()),
               .values = reinterpret_cast<std::byte*>(values.data()),
               .dtype = DType::F32,
               .pages = 4,
               .page_tokens = 4,
               .kv_heads = 2,
               .key_dim = 8,
               .value_dim = 6};
};

struct AttentionCase {
  Cache cache;
  std::vector<std::int32_t> pages = {3, 0};
  std::vector<Segment> segments = {
      {.first_row = 0, .rows = 3, .past = 2, .slot = 0, .pages = pages}};
  Block queries{12, 8}, out{12, 6};
  Attention op{.queries = queries.view,
               .kv = cache.view,
               .segments = segments,
               .heads = 4,
               .scale = 1,
               .out = out.view};
};

TEST(CheckAttention, RefusesRowsThatDoNotFit) {
  AttentionCase given;
  EXPECT_EQ(complaint(given.op), "");
  given.op.scale = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(complaint(given.op), "attention: scale is not finite");
  given.op.heads = 3;
  EXPECT_EQ(complaint(given.op),
            "attention: queries [12, 8], out [12, 6], 3 heads, cache [pages 4, kv_heads 2, "
            "page_tokens 4, key_dim 8, value_dim 6] do not fit together");
}

TEST(CheckAttention, RefusesACacheThatCannotBeRead) {
  AttentionCase given;
  given.op.kv.dtype = DType::F16;
  EXPECT_EQ(complaint(given.op), "attention: cache of F16, only BF16, F8_E4M3 and F32 can be read");
  given.op.kv = given.cache.view;
  given.op.kv.keys = nullptr;
  EXPECT_EQ(complaint(given.op),
            "attention: cache [pages 4, kv_heads 2, page_tokens 4, key_dim 8, value_dim 6] has no "
            "data");
  given.op.kv.page_tokens = 0;
  EXPECT_EQ(complaint(given.op),
            "attention: cache [pages 4, kv_heads 2, page_tokens 0, key_dim 8, value_dim 6] has "
            "impossible sizes");
  given.op.kv = given.cache.view;
  given.op.kv.values = nullptr;
  given.op.kv.value_dim = 9;
  EXPECT_EQ(complaint(given.op),
            "attention: cache [pages 4, kv_heads 2, page_tokens 4, key_dim 8, value_dim 9] has no "
            "values and keys shorter than a value");
}

TEST(CheckAttention, RefusesPagesThatAreNotThere) {
  AttentionCase given;
  given.pages[1] = 4;
  EXPECT_EQ(complaint(given.op), "attention: page 4 of segment 0 is not in [0, 4)");
  given.segments[0].past = 6;
  EXPECT_EQ(complaint(given.op), "attention: segment 0 has 2 pages of 4 for 9 tokens");
}

struct LatentCase {
  std::vector<float> latents = std::vector<float>(4 * 4 * 8);
  std::vector<float> weights = std::vector<float>(2 * 6 * 5);
  std::vector<std::int32_t> pages = {3, 0};
  std::vector<Segment> segments = {
      {.first_row = 0, .rows = 3, .past = 2, .slot = 0, .pages = pages}};
  Block queries{6, 5}, absorbed{6, 8}, mixed{6, 6}, out{6, 4};
  AttentionOverLatents op{.queries = queries.view,
                          .absorbed = absorbed.view,
                          .mixed = mixed.view,
                          .key_up = matrix(2 * 6, 5),
                          .value_up = matrix(2 * 4, 6),
                          .kv = {.keys = reinterpret_cast<std::byte*>(latents.data()),
                                 .values = nullptr,
                                 .dtype = DType::F32,
                                 .pages = 4,
                                 .page_tokens = 4,
                                 .kv_heads = 1,
                                 .key_dim = 8,
                                 .value_dim = 6},
                          .segments = segments,
                          .heads = 2,
                          .scale = 1,
                          .out = out.view};

  Matrix matrix(std::int64_t rows, std::int64_t columns) {
    return {.format = Matrix::Format::F32,
            .rows = rows,
            .columns = columns,
            .data = reinterpret_cast<const std::byte*>(weights.data()),
            .tiles = {}};
  }
};

TEST(CheckAttentionOverLatents, RefusesWhatDoesNotFit) {
  LatentCase given;
  EXPECT_EQ(complaint(given.op), "");
  given.op.key_up.rows = 10;
  EXPECT_EQ(complaint(given.op),
            "head_linear: x [6, 5], weight [10, 5], 2 heads, out [6, 6] do not fit together");
  given.op.key_up.rows = 12;
  given.op.value_up.columns = 5;
  EXPECT_EQ(complaint(given.op),
            "head_linear: x [6, 6], weight [8, 5], 2 heads, out [6, 4] do not fit together");
  LatentCase other;
  other.op.absorbed.cols = 7;
  EXPECT_EQ(complaint(other.op),
            "attention_over_latents: absorbed [6, 7], mixed [6, 6], a cache of 8 numbers, 6 of "
            "them a latent, do not fit together");
  other.op.absorbed.cols = 8;
  other.op.kv.values = other.op.kv.keys;
  EXPECT_EQ(complaint(other.op), "attention_over_latents: the cache has values");
}

TEST(CheckAttentionOverLatents, RefusesResultsOnTopOfOperands) {
  LatentCase given;
  given.op.out = MutableRows(given.op.absorbed.data, 6, 4);
  EXPECT_NE(complaint(given.op), "");
  given.op.out = MutableRows(given.queries.view.data, 6, 4);
  EXPECT_NE(complaint(given.op), "");
  given.op.out = given.op.mixed.columns(0, 4);
  EXPECT_NE(complaint(given.op), "");
}

TEST(CheckSegments, AscendInsideTheStep) {
  AttentionCase given;
  given.segments[0].rows = 4;
  EXPECT_EQ(complaint(given.op),
            "attention: segment 0 (first_row 0, rows 4, past 2) is not in [0, 3)");
  given.segments[0].rows = 2;
  given.segments.push_back({.first_row = 1, .rows = 1, .past = 0, .slot = 1, .pages = given.pages});
  given.op.segments = given.segments;
  EXPECT_EQ(complaint(given.op),
            "attention: segment 1 (first_row 1, rows 1, past 0) is not in [2, 3)");
  given.segments[1].first_row = std::numeric_limits<std::int64_t>::max();
  EXPECT_EQ(complaint(given.op),
            "attention: segment 1 (first_row 9223372036854775807, rows 1, past 0) is not in [2, "
            "3)");
}

TEST(CheckKvAppend, RefusesWhatDoesNotFit) {
  AttentionCase given;
  Block keys(6, 8), values(6, 6), short_values(6, 5);
  KvAppend op{
      .keys = keys.view, .values = values.view, .kv = given.cache.view, .segments = given.segments};
  EXPECT_EQ(complaint(op), "");
  op.values = short_values.view;
  EXPECT_EQ(complaint(op),
            "kv_append: keys [6, 8], values [6, 5], cache [pages 4, kv_heads 2, page_tokens 4, "
            "key_dim 8, value_dim 6] do not fit together");
  op.values = values.view;
  op.kv.values = nullptr;
  EXPECT_EQ(complaint(op),
            "kv_append: keys [6, 8], values [6, 6], cache [pages 4, kv_heads 2, page_tokens 4, "
            "key_dim 8, value_dim 6] without values do not fit together");
  op.values = {};
  EXPECT_EQ(complaint(op), "");
}

TEST(CheckCausalConv, RefusesWhatDoesNotFit) {
  Block x(3, 4), out(3, 4);
  const std::vector<float> weight(16);
  std::vector<float> state(2 * 3 * 4);
  const std::vector<Segment> segments = {
      {.first_row = 0, .rows = 3, .past = 0, .slot = 1, .pages = {}}};
  CausalConv op{.x = x.view,
                .weight = weight,
                .width = 4,
                .state = state.data(),
                .slots = 2,
                .segments = segments,
                .out = out.view};
  EXPECT_EQ(complaint(op), "");
  op.slots = 1;
  EXPECT_EQ(complaint(op), "causal_conv: slot 1 of segment 0 is not in [0, 1)");
  op.slots = -1;
  EXPECT_EQ(complaint(op), "causal_conv: -1 slots are impossible");
  op.slots = 2;
  op.state = nullptr;
  EXPECT_EQ(complaint(op), "causal_conv: state has no data");
  op.width = 3;
  EXPECT_EQ(complaint(op),
            "causal_conv: x [3, 4], weight [16] of width 3, out [3, 4] do not fit together");
  op.width = 4;
  op.state = state.data();
  op.out = x.view;
  EXPECT_EQ(complaint(op), "causal_conv: out overlaps x");
}

TEST(CheckCausalConv, RefusesTwoSegmentsInOneSlot) {
  Block x(2, 4), out(2, 4);
  const std::vector<float> weight(16);
  std::vector<float> state(3 * 4);
  const std::vector<Segment> segments = {
      {.first_row = 0, .rows = 1, .past = 0, .slot = 0, .pages = {}},
      {.first_row = 1, .rows = 1, .past = 0, .slot = 0, .pages = {}}};
  EXPECT_EQ(complaint(CausalConv{.x = x.view,
                                 .weight = weight,
                                 .width = 4,
                                 .state = state.data(),
                                 .slots = 1,
                                 .segments = segments,
                                 .out = out.view}),
            "causal_conv: segments 0 and 1 share slot 0");
}

TEST(CheckDeltaGates, RefusesWhatDoesNotFit) {
  Block a(2, 4), b(2, 4), wrong(2, 3);
  const std::vector<float> heads(4);
  DeltaGates op{.a = a.view,
                .b = b.view,
                .a_log = heads,
                .dt_bias = heads,
                .log_decay = a.view,
                .beta = b.view};
  EXPECT_EQ(complaint(op), "");
  op.beta = a.view;
  EXPECT_EQ(complaint(op), "delta_gates: beta overlaps a");
  op.beta = wrong.view;
  EXPECT_EQ(complaint(op),
            "delta_gates: a [2, 4], b [2, 4], a_log [4], dt_bias [4], log_decay [2, 4], beta [2, "
            "3] do not fit together");
}

TEST(CheckDeltaNet, RefusesWhatDoesNotFit) {
  Block q(2, 6), k(2, 6), v(2, 20), gates(2, 4), beta(2, 4), out(2, 20);
  std::vector<float> state(4 * 3 * 5);
  const std::vector<Segment> segments = {
      {.first_row = 0, .rows = 2, .past = 0, .slot = 0, .pages = {}}};
  DeltaNet op{.q = q.view,
              .k = k.view,
              .v = v.view,
              .log_decay = gates.view,
              .beta = beta.view,
              .key_heads = 2,
              .value_heads = 4,
              .key_dim = 3,
              .value_dim = 5,
              .state = state.data(),
              .slots = 1,
              .segments = segments,
              .out = out.view};
  EXPECT_EQ(complaint(op), "");
  op.key_heads = 3;
  EXPECT_EQ(complaint(op),
            "delta_net: 3 key heads of 3, 4 value heads of 5, 1 slots are impossible");
  op.key_heads = 2;
  op.state = nullptr;
  EXPECT_EQ(complaint(op), "delta_net: state has no data");
  op.beta = q.view;
  EXPECT_EQ(complaint(op),
            "delta_net: q [2, 6], k [2, 6], v [2, 20], log_decay [2, 4], beta [2, 6], out [2, 20] "
            "do not fit together");
  op.beta = beta.view;
  op.state = state.data();
  op.out = v.view;
  EXPECT_EQ(complaint(op), "delta_net: out overlaps v");
}

}  // namespace
}  // namespace krasis
