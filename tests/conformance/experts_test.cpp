#include <numeric>

#include "conformance/support.h"
#include "quant/quantize.h"

namespace krasis {
namespace {

using test::for_each_backend;
using test::kPlainFormats;
using test::normal_values;
using test::PlainMatrix;
using test::relative_error;
using test::rounded;
using test::StridedRows;
using test::unquantized;

struct Chosen {
  Chosen(std::int64_t tokens, std::int64_t top_k)
      : ids(static_cast<std::size_t>(tokens * top_k)), weights(ids.size()) {}
  std::vector<std::int32_t> ids;
  std::vector<float> weights;
};

Chosen route(Ops& ops, Rows logits, const std::vector<float>& bias, const Routing& routing) {
  Chosen chosen(logits.rows, routing.top_k);
  ops.route({.logits = logits,
             .bias = bias,
             .routing = routing,
             .ids = chosen.ids,
             .weights = chosen.weights});
  return chosen;
}

void compare(Rows logits, const std::vector<float>& bias, const Routing& routing) {
  const Chosen expected = route(*make_reference_ops(), logits, bias, routing);
  for_each_backend([&](Ops& ops) {
    const Chosen actual = route(ops, logits, bias, routing);
    ASSERT_EQ(actual.ids, expected.ids);
    // A score has an exponential, a sum of up to 512 and some roundings behind it.
    EXPECT_LT(relative_error(actual.weights, expected.weights), 1e-6);
  });
}

// Logits at least 1e-3 apart in each row, in random order, so that rounding changes no choice.
std::vector<float> distinct_logits(std::int64_t tokens, std::int64_t experts) {
  std::mt19937 random(3);
  std::vector<float> row(static_cast<std::size_t>(experts));
  std::vector<float> all(static_cast<std::size_t>(tokens * experts));
  for (std::size_t e = 0; e < row.size(); ++e)
    row[e] = 8 * static_cast<float>(e) / static_cast<float>(experts) - 4;
  for (std::int64_t t = 0; t < tokens; ++t) {
    std::shuffle(row.begin(), row.end(), random);
    std::copy(row.begin(), row.end(), all.begin() + t * experts);
  }
  return all;
}

TEST(Conformance, RouteBySoftmax) {
  for (const std::int64_t experts : {1, 5, 64, 128, 512}) {
    for (const std::int64_t top_k :
         {std::int64_t{1}, std::min<std::int64_t>(10, experts), experts}) {
      for (const bool normalize : {false, true}) {
        StridedRows logits(7, experts, distinct_logits(7, experts));
        compare(logits.view(), {},
                {.experts = experts, .top_k = top_k, .normalize = normalize, .scale = 2.5F});
      }
    }
  }
}

TEST(Conformance, RouteBySigmoidWithBiasAndGroups) {
  const auto bias = distinct_logits(1, 64);  // dwarfs the scores' rounding
  for (const GroupScore how : {GroupScore::Max, GroupScore::TopTwoSum}) {
    for (const std::int64_t groups : {1, 4, 8, 64}) {
      for (const std::int64_t top_groups : {std::int64_t{1}, (groups + 1) / 2, groups}) {
        const std::int64_t top_k = std::min<std::int64_t>(6, top_groups * (64 / groups));
        StridedRows logits(9, 64, distinct_logits(9, 64));
        compare(logits.view(), bias,
                {.experts = 64,
                 .top_k = top_k,
                 .scoring = Scoring::Sigmoid,
                 .groups = groups,
                 .top_groups = top_groups,
                 .group_score = how,
                 .scale = 2.827F});
      }
    }
  }
}

TEST(Conformance, RouteTakesTheLowerNumberOnATie) {
  StridedRows logits(1, 6, {1, 2, 1, 2, 2, 0});
  for_each_backend([&](Ops& ops) {
    EXPECT_EQ(route(ops, logits.view(), {}, {.experts = 6, .top_k = 5}).ids,
              (std::vector<std::int32_t>{1, 3, 4, 0, 2}));
  });
}

TEST(Conformance, RouteSurvivesNanAndInfinity) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  StridedRows logits(
      3, 4, {nan, nan, nan, nan, 1, nan, infinity, 0, -infinity, -infinity, -infinity, -infinity});
  for (const Scoring scoring : {Scoring::Softmax, Scoring::Sigmoid}) {
    for_each_backend([&](Ops& ops) {
      const auto ids =
          route(ops, logits.view(), {},
                {.experts = 4, .top_k = 4, .scoring = scoring, .groups = 2, .top_groups = 2})
              .ids;
      for (std::size_t t = 0; t < 3; ++t) {
        std::vector<std::int32_t> sorted(ids.begin() + static_cast<std::ptrdiff_t>(4 * t),
                                         ids.begin() + static_cast<std::ptrdiff_t>(4 * t + 4));
        std::sort(sorted.begin(), sorted.end());
        EXPECT_EQ(sorted, (std::vector<std::int32_t>{0, 1, 2, 3}));
      }
    });
  }
}

struct Sizes {
  std::int64_t tokens, experts, top_k, hidden, intermediate;
};
constexpr Sizes kExpertSizes[] = {{1, 1, 1, 5, 3},    {1, 8, 3, 64, 40}, {9, 4, 2, 33, 17},
                                  {3, 6, 6, 24, 100}, {70, 2, 1, 40, 9}, {200, 5, 2, 16, 24}};

// Each token's experts differ.
Chosen random_choice(const Sizes& sizes) {
  std::mt19937 random(6);
  Chosen chosen(sizes.tokens, sizes.top_k);
  chosen.weights = normal_values(sizes.tokens * sizes.top_k, 7);
  std::vector<std::int32_t> order(static_cast<std::size_t>(sizes.experts));
  std::iota(order.begin(), order.end(), 0);
  for (std::int64_t t = 0; t < sizes.tokens; ++t) {
    std::shuffle(order.begin(), order.end(), random);
    std::copy_n(order.begin(), sizes.top_k, chosen.ids.begin() + t * sizes.top_k);
  }
  return chosen;
}

struct PlainLayer {
  PlainLayer(const Sizes& sizes, Matrix::Format format) {
    const std::int64_t count = sizes.hidden * sizes.intermediate;
    for (std::int64_t e = 0; e < sizes.experts; ++e) {
      const auto seed = static_cast<unsigned>(100 + 3 * e);
      const auto add = [&](std::vector<Matrix>& list, std::int64_t rows, std::int64_t columns,
                           unsigned offset) {
        memory.emplace_back(format, rows, columns, normal_values(count, seed + offset, 0.2F));
        list.push_back(memory.back().matrix());
      };
      add(gate, sizes.intermediate, sizes.hidden, 0);
      add(up, sizes.intermediate, sizes.hidden, 1);
      add(down, sizes.hidden, sizes.intermediate, 2);
    }
    matrices = {.experts = sizes.experts,
                .hidden = sizes.hidden,
                .intermediate = sizes.intermediate,
                .gate = gate.data(),
                .up = up.data(),
                .down = down.data(),
                .tiled = std::nullopt};
  }
  std::vector<PlainMatrix> memory;
  std::vector<Matrix> gate, up, down;
  ExpertMatrices matrices;
};

TEST(Conformance, PlainExperts) {
  for (const Matrix::Format format : kPlainFormats) {
    for (const Sizes& sizes : kExpertSizes) {
      const PlainLayer layer(sizes, format);
      const Chosen chosen = random_choice(sizes);
      StridedRows x(sizes.tokens, sizes.hidden, normal_values(sizes.tokens * sizes.hidden, 8)),
          expected(sizes.tokens, sizes.hidden);
      Experts op{.x = x.view(),
                 .ids = chosen.ids,
                 .weights = chosen.weights,
                 .top_k = sizes.top_k,
                 .matrices = layer.matrices,
                 .out = expected.view()};
      make_reference_ops()->experts(op);
      for_each_backend([&](Ops& ops) {
        StridedRows actual(sizes.tokens, sizes.hidden);
        op.out = actual.view();
        ops.experts(op);
        // Three products one after another, each within linear's 1e-6.
        EXPECT_LT(relative_error(actual.values(), expected.values()), rounded(2e-6));
        EXPECT_TRUE(actual.gaps_untouched());
      });
    }
  }
}

// The same expert as tiles.
struct TiledLayer {
  TiledLayer(const Sizes& sizes, TileType type, const PlainLayer& plain)
      : layout(type, sizes.hidden, sizes.intermediate),
        memory(layout.expert_bytes * static_cast<std::size_t>(sizes.experts)) {
    const auto rows_of = [](const Matrix& matrix) {
      return WeightRows{
          .dtype = DType::F32, .data = matrix.data, .rows = matrix.rows, .columns = matrix.columns};
    };
    for (std::size_t e = 0; e < static_cast<std::size_t>(sizes.experts); ++e) {
      std::byte* base = memory.data() + e * layout.expert_bytes;
      quantize_w13_strips(
          rows_of(plain.gate[e]), rows_of(plain.up[e]),
          {layout.w13, base + layout.w13_tiles, reinterpret_cast<bf16*>(base + layout.w13_scales)},
          0, layout.w13.strips());
      quantize_strips(
          rows_of(plain.down[e]),
          {layout.w2, base + layout.w2_tiles, reinterpret_cast<bf16*>(base + layout.w2_scales)}, 0,
          layout.w2.strips());
    }
    matrices = ExpertMatrices::of(layout, sizes.experts, memory.data());
  }
  ExpertLayout layout;
  std::vector<std::byte> memory;
  ExpertMatrices matrices;
};

TEST(Conformance, TiledExperts) {
  for (const TileType type : {TileType{4, 32}, TileType{8, 128}}) {
    for (const Sizes& sizes : kExpertSizes) {
      const PlainLayer plain(sizes, Matrix::Format::F32);
      const TiledLayer layer(sizes, type, plain);
      const Chosen chosen = random_choice(sizes);
      StridedRows x(sizes.tokens, sizes.hidden, normal_values(sizes.tokens * sizes.hidden, 9)),
          expected(sizes.tokens, sizes.hidden);
      Experts op{.x = x.view(),
                 .ids = chosen.ids,
                 .weights = chosen.weights,
                 .top_k = sizes.top_k,
                 .matrices = layer.matrices,
                 .out = expected.view()};
      make_reference_ops()->experts(op);
      for_each_backend([&](Ops& ops) {
        StridedRows actual(sizes.tokens, sizes.hidden);
        op.out = actual.view();
        ops.experts(op);
        // A product next to the middle of two 8-bit numbers may become either, which costs it up
        // to 1 / 127 of its group's largest; that one in some hundred thousand does so is what the
        // F32 rounding before it allows.
        EXPECT_LT(relative_error(actual.values(), expected.values()), unquantized(1e-3));
        EXPECT_TRUE(actual.gaps_untouched());
      });
    }
  }
}

enum class Absent { Some, OneExpert, AllOfAToken, All };

// The same with some ids -1, which somebody else computes.
Chosen without(const Chosen& all, std::int64_t top_k, Absent which) {
  std::mt19937 random(12);
  Chosen chosen = all;
  for (std::size_t n = 0; n < chosen.ids.size(); ++n) {
    std::int32_t& id = chosen.ids[n];
    const bool absent =
        which == Absent::All || (which == Absent::Some && random() % 3 == 0) ||
        (which == Absent::OneExpert && id == all.ids.front()) ||
        (which == Absent::AllOfAToken && static_cast<std::int64_t>(n) / top_k % 3 == 0);
    if (!absent) continue;
    id = -1;
    // Nobody looks at it.
    chosen.weights[n] = std::numeric_limits<float>::quiet_NaN();
  }
  return chosen;
}

// On a device the last ones take the kernels for many tokens.
constexpr Sizes kSharedSizes[] = {{1, 8, 3, 64, 40},   {9, 4, 2, 33, 17},   {3, 6, 6, 24, 100},
                                  {70, 2, 1, 40, 9},   {200, 5, 2, 16, 24}, {37, 16, 10, 72, 33},
                                  {300, 40, 4, 64, 64}};

void compare_without(const ExpertMatrices& matrices, const Sizes& sizes, double limit) {
  StridedRows x(sizes.tokens, sizes.hidden, normal_values(sizes.tokens * sizes.hidden, 10));
  for (const Absent which : {Absent::Some, Absent::OneExpert, Absent::AllOfAToken, Absent::All}) {
    const Chosen chosen = without(random_choice(sizes), sizes.top_k, which);
    StridedRows expected(sizes.tokens, sizes.hidden);
    Experts op{.x = x.view(),
               .ids = chosen.ids,
               .weights = chosen.weights,
               .top_k = sizes.top_k,
               .matrices = matrices,
               .out = expected.view()};
    make_reference_ops()->experts(op);
    for_each_backend([&](Ops& ops) {
      StridedRows actual(sizes.tokens, sizes.hidden);
      op.out = actual.view();
      ops.experts(op);
      if (which == Absent::All) {
        EXPECT_EQ(actual.values(), std::vector<float>(expected.values().size(), 0));
      } else {
        EXPECT_LT(relative_error(actual.values(), expected.values()), limit);
      }
      EXPECT_TRUE(actual.gaps_untouched());
    });
  }
}

TEST(Conformance, PlainExpertsLeaveOutAnIdOfMinusOne) {
  for (const Sizes& sizes : kSharedSizes)
    compare_without(PlainLayer(sizes, Matrix::Format::F32).matrices, sizes, rounded(2e-6));
}

TEST(Conformance, TiledExpertsLeaveOutAnIdOfMinusOne) {
  for (const TileType type : {TileType{4, 32}, TileType{8, 128}}) {
    for (const Sizes& sizes : kSharedSizes) {
      const PlainLayer plain(sizes, Matrix::Format::F32);
      const TiledLayer layer(sizes, type, plain);
      compare_without(layer.matrices, sizes, unquantized(1e-3));
    }
  }
}

}  // namespace
}  // namespace krasis
