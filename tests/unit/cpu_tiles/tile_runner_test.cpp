#include "cpu/tile_runner.h"

#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <string>

#include "base/error.h"
#include "ops/reference.h"
#include "unit/cpu_tiles/random_tiles.h"

namespace krasis::cpu {
namespace {

// A layer of experts with random tiles.
struct Layer {
  Layer(TileType type, std::int64_t experts, std::int64_t hidden, std::int64_t intermediate)
      : layout(type, hidden, intermediate), bytes(layout.layer_bytes(experts)) {
    for (std::int64_t e = 0; e < experts; ++e) {
      std::byte* base = bytes.data() + static_cast<std::size_t>(e) * layout.expert_bytes;
      const auto seed = static_cast<unsigned>(2 * e);
      const RandomTiles w13(layout.w13, seed);
      const RandomTiles w2(layout.w2, seed + 1);
      const auto copy = [&](const auto& from, std::size_t offset) {
        std::copy_n(reinterpret_cast<const std::byte*>(from.data()), from.size() * sizeof(from[0]),
                    base + offset);
      };
      copy(w13.bytes, layout.w13_tiles);
      copy(w13.scales, layout.w13_scales);
      copy(w2.bytes, layout.w2_tiles);
      copy(w2.scales, layout.w2_scales);
      clear_padding({layout.w13, base + layout.w13_tiles, nullptr}, base + layout.w13_tiles,
                    intermediate);
    }
    matrices = ExpertMatrices::of(layout, experts, bytes.data());
  }

  // Rows of gate and up behind `intermediate` hold zero weights, as the layout says.
  void clear_padding(const TileMatrix& w13, std::byte* tiles, std::int64_t intermediate) const {
    for (std::int64_t r = intermediate; r < w13.shape.padded_rows / 2; ++r) {
      for (const std::int64_t row : {w13_gate_row(r), w13_up_row(r)}) {
        for (std::int64_t k = 0; k < w13.shape.padded_columns; ++k) {
          const TilePlace place = tile_place(w13.shape, row, k);
          if (w13.shape.type.bits == 8) {
            tiles[place.byte] = std::byte{128};
            continue;
          }
          const auto kept = tiles[place.byte] & static_cast<std::byte>(0xf0 >> place.shift);
          tiles[place.byte] = kept | static_cast<std::byte>(8 << place.shift);
        }
      }
    }
  }

  ExpertLayout layout;
  std::vector<std::byte> bytes;
  ExpertMatrices matrices;
};

struct Request {
  std::int64_t tokens, top_k;
  std::vector<float> x;
  std::vector<std::int32_t> ids;
  std::vector<float> weights;
};

Request make_request(std::int64_t tokens, std::int64_t top_k, const ExpertMatrices& matrices) {
  Request request{tokens, top_k, {}, {}, {}};
  request.x = normal_values(static_cast<std::size_t>(tokens * matrices.hidden), 1);
  std::mt19937 random(2);
  for (std::int64_t n = 0; n < tokens * top_k; ++n) {
    request.ids.push_back(
        static_cast<std::int32_t>(random() % static_cast<unsigned>(matrices.experts)));
    request.weights.push_back(static_cast<float>(random() % 100) / 100.0F);
  }
  return request;
}

Experts op_of(const Request& request, const ExpertMatrices& matrices, std::vector<float>& out) {
  out.assign(request.x.size(), 99.0F);
  return {.x = Rows(request.x.data(), request.tokens, matrices.hidden),
          .ids = request.ids,
          .weights = request.weights,
          .top_k = request.top_k,
          .matrices = matrices,
          .out = MutableRows(out.data(), request.tokens, matrices.hidden)};
}

std::vector<float> run(ThreadPool& pool, const TileKernels& kernels, const Request& request,
                       const ExpertMatrices& matrices) {
  TileRunner runner(pool, kernels);
  std::vector<float> out;
  runner.experts(op_of(request, matrices, out));
  return out;
}

double largest_magnitude(const std::vector<float>& values) {
  double largest = 0;
  for (const float value : values) largest = std::max(largest, std::abs(double{value}));
  return largest;
}

TEST(TileRunner, ExpertsMatchTheOracleInEveryRowOfTheTable) {
  ThreadPool pool({.threads = 2});
  for (const TileType type : {TileType{4, 128}, TileType{4, 32}, TileType{8, 64}}) {
    const Layer layer(type, 5, 200, 100);  // every dimension padded
    for (const std::int64_t tokens : {1, 3, 40}) {
      const Request request = make_request(tokens, 3, layer.matrices);
      std::vector<float> expected;
      reference::experts(op_of(request, layer.matrices, expected));
      for (const TileKernels& kernels : tile_kernels()) {
        if (!kernels.runs_on(features())) continue;
        SCOPED_TRACE(std::string(kernels.name) + ", " + std::to_string(tokens) + " tokens");
        const auto actual = run(pool, kernels, request, layer.matrices);
        // The product silu(gate) * up is rounded to 8 bits: where F32 and F64 round to different
        // sides, one of 100 products moves by 1/127 of the group's largest; two or three such
        // moves change an output by less than 1 % of the largest output.
        const double tolerance = 0.01 * largest_magnitude(expected);
        for (std::size_t i = 0; i < expected.size(); ++i)
          ASSERT_NEAR(actual[i], expected[i], tolerance) << i;
      }
    }
  }
}

TEST(TileRunner, ATokensExpertsDependNeitherOnOtherTokensNorOnThreadsNorOnTheTableRow) {
  for (const TileType type : {TileType{4, 128}, TileType{8, 32}}) {
    const Layer layer(type, 6, 256, 96);
    const Request all = make_request(70, 4, layer.matrices);
    ThreadPool single({.threads = 1});
    const auto expected = run(single, tile_kernels().back(), all, layer.matrices);
    for (const int threads : {1, 2, 5}) {
      ThreadPool pool({.threads = threads});
      for (const TileKernels& kernels : tile_kernels()) {
        if (!kernels.runs_on(features())) continue;
        SCOPED_TRACE(std::string(kernels.name) + ", " + std::to_string(threads) + " threads");
        EXPECT_EQ(run(pool, kernels, all, layer.matrices), expected);
        for (const std::int64_t count : {1, 2, 7, 8, 33}) {
          Request some{count, 4, {}, {}, {}};
          some.x.assign(all.x.begin(), all.x.begin() + count * 256);
          some.ids.assign(all.ids.begin(), all.ids.begin() + count * 4);
          some.weights.assign(all.weights.begin(), all.weights.begin() + count * 4);
          const auto actual = run(pool, kernels, some, layer.matrices);
          EXPECT_TRUE(std::equal(actual.begin(), actual.end(), expected.begin())) << count;
        }
      }
    }
  }
}

TEST(TileRunner, OneExpertOfManyTokensIsADenseLayer) {
  const Layer layer({4, 128}, 1, 128, 300);
  Request request = make_request(9, 1, layer.matrices);
  std::ranges::fill(request.weights, 1.0F);
  std::vector<float> expected;
  reference::experts(op_of(request, layer.matrices, expected));
  ThreadPool pool({.threads = 2});
  const auto actual = run(pool, best_tile_kernels(), request, layer.matrices);
  const double tolerance = 0.01 * largest_magnitude(expected);  // as above
  for (std::size_t i = 0; i < expected.size(); ++i)
    EXPECT_NEAR(actual[i], expected[i], tolerance) << i;
}

TEST(TileRunner, RejectsAnExpertThatDoesNotExistAndAcceptsNoTokens) {
  const Layer layer({4, 128}, 2, 128, 32);
  Request request = make_request(1, 2, layer.matrices);
  request.ids[1] = 2;
  ThreadPool pool({.threads = 1});
  try {
    run(pool, best_tile_kernels(), request, layer.matrices);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "experts: id 2 is not one of 2 experts");
  }
  EXPECT_TRUE(
      run(pool, best_tile_kernels(), make_request(0, 2, layer.matrices), layer.matrices).empty());
}

TEST(TileRunner, NanInATokenStaysInThatToken) {
  const Layer layer({4, 64}, 3, 128, 64);
  Request request = make_request(40, 2, layer.matrices);
  request.x[128 * 3 + 5] = std::nanf("");
  request.x[128 * 4 + 5] = std::numeric_limits<float>::infinity();
  ThreadPool pool({.threads = 2});
  const auto out = run(pool, best_tile_kernels(), request, layer.matrices);
  for (std::size_t i = 0; i < out.size(); ++i)
    EXPECT_EQ(std::isnan(out[i]), i / 128 == 3 || i / 128 == 4) << i;
}

TEST(TileRunner, LinearIsTheKernelsResultPlusBias) {
  const RandomTiles tiles(TileShape({8, 128}, 150, 200), 3);
  const auto x = normal_values(7 * 210, 4);
  const auto bias = normal_values(150, 5);
  std::vector<float> expected(7 * 160), actual(7 * 160, 99.0F);
  const Linear reference_op{.x = Rows(x.data(), 7, 200, 210),
                            .weight = Matrix::of(tiles.matrix()),
                            .bias = bias,
                            .out = MutableRows(expected.data(), 7, 150, 160)};
  reference::linear(reference_op);
  for (const int threads : {1, 3}) {
    ThreadPool pool({.threads = threads});
    for (const TileKernels& kernels : tile_kernels()) {
      if (!kernels.runs_on(features())) continue;
      TileRunner runner(pool, kernels);
      for (const std::int64_t tokens : {1, 3, 7}) {
        Linear op = reference_op;
        op.x.rows = op.out.rows = tokens;
        op.out.data = actual.data();
        runner.linear(op);
        for (std::int64_t t = 0; t < tokens; ++t) {
          for (std::int64_t n = 0; n < 160; ++n) {
            const auto at = static_cast<std::size_t>(t * 160 + n);
            // Two groups: two products and two sums in F32, 2^-24 of the largest term each.
            if (n < 150) {
              EXPECT_NEAR(actual[at], expected[at], 1e-6 * largest_magnitude(expected));
            } else {
              EXPECT_EQ(actual[at], 99.0F);
            }
          }
        }
      }
    }
  }
}

TEST(TileRunner, HeadsHaveTheirOwnMatrices) {
  const RandomTiles tiles(TileShape({4, 64}, 3 * 64, 100), 6);
  const auto x = normal_values(5 * 3 * 100, 7);
  std::vector<float> expected(5 * 3 * 64), actual(5 * 3 * 64);
  HeadLinear op{.x = Rows(x.data(), 15, 100),
                .weight = Matrix::of(tiles.matrix()),
                .heads = 3,
                .out = MutableRows(expected.data(), 15, 64)};
  reference::head_linear(op);
  op.out.data = actual.data();
  for (const int threads : {1, 2}) {
    ThreadPool pool({.threads = threads});
    TileRunner runner(pool);
    runner.head_linear(op);
    for (std::size_t i = 0; i < expected.size(); ++i)
      EXPECT_NEAR(actual[i], expected[i], 1e-6 * largest_magnitude(expected));
  }
}

}  // namespace
}  // namespace krasis::cpu
