// Every row of the table that this processor runs, against the arithmetic of quant/activations.h
// written down plainly. The results are equal to the last bit.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <gtest/gtest.h>
#include <limits>
#include <numeric>
#include <string>

#include "cpu/tile_table.h"
#include "quant/activations.h"
#include "tensor/host_buffer.h"
#include "unit/cpu_tiles/random_tiles.h"

namespace krasis::cpu {
namespace {

std::vector<const TileKernels*> rows_that_run() {
  std::vector<const TileKernels*> rows;
  for (const TileKernels& row : tile_kernels()) {
    if (row.runs_on(features())) rows.push_back(&row);
  }
  return rows;
}

// Prints, so that a run on another machine shows what it covered.
class Announce : public testing::Environment {
 public:
  void SetUp() override {
    for (const TileKernels& row : tile_kernels()) {
      std::printf("tile kernels: %.*s %s\n", static_cast<int>(row.name.size()), row.name.data(),
                  row.runs_on(features()) ? "runs" : "is not run: the processor lacks it");
    }
  }
};
const auto* const kAnnounce = testing::AddGlobalTestEnvironment(new Announce);

struct Activations {
  std::vector<std::int8_t> q;
  std::vector<float> scales;
  std::vector<std::int32_t> offsets;
};

Activations quantize(const TileKernels& row, const std::vector<float>& x, std::int64_t count,
                     const TileShape& shape) {
  Activations result;
  result.q.resize(static_cast<std::size_t>(count * shape.padded_columns));
  result.scales.resize(static_cast<std::size_t>(count * shape.groups()));
  result.offsets.resize(result.scales.size());
  for (std::int64_t t = 0; t < count; ++t) {
    row.activations({.x = x.data() + t * shape.columns,
                     .columns = shape.columns,
                     .padded = shape.padded_columns,
                     .group = shape.type.group,
                     .weight_offset = shape.type.bits == 4 ? 8 : 128,
                     .q = result.q.data() + t * shape.padded_columns,
                     .scales = result.scales.data() + t * shape.groups(),
                     .offsets = result.offsets.data() + t * shape.groups()});
  }
  return result;
}

// One result, by the formula.
float expected_result(const TileMatrix& matrix, std::int64_t row, const std::vector<float>& x,
                      std::int64_t token) {
  const TileShape& shape = matrix.shape;
  std::vector<std::int8_t> q(static_cast<std::size_t>(shape.padded_columns));
  std::vector<float> scales(static_cast<std::size_t>(shape.groups()));
  quantize_activations(std::span(x).subspan(static_cast<std::size_t>(token * shape.columns),
                                            static_cast<std::size_t>(shape.columns)),
                       shape.type.group, q, scales);
  float sum = 0;
  for (std::int64_t g = 0; g < shape.groups(); ++g) {
    int dot = 0;
    for (std::int64_t k = g * shape.type.group; k < (g + 1) * shape.type.group; ++k)
      dot += tile_value(matrix, row, k) * q[static_cast<std::size_t>(k)];
    const float scale = to_float(matrix.scales[tile_scale_index(shape, row, g)]);
    sum = std::fma(static_cast<float>(dot), scale * scales[static_cast<std::size_t>(g)], sum);
  }
  return sum;
}

// Runs a row over all strips; results behind out_columns hold what they held.
std::vector<float> product(const TileKernels& row, const TileMatrix& matrix, const Activations& x,
                           const std::vector<std::int32_t>& in_rows, std::int64_t out_columns,
                           bool gated) {
  const HostBuffer scratch(kTileScratchBytes);
  const std::int64_t stride = matrix.shape.padded_rows;
  std::vector<std::int32_t> out_rows(in_rows.size());
  std::iota(out_rows.rbegin(), out_rows.rend(), 0);  // backwards: the two need not agree
  std::vector<float> out(in_rows.size() * static_cast<std::size_t>(stride), 99.0F);
  row.product({.tiles = reinterpret_cast<const std::uint8_t*>(matrix.tiles),
               .scales = reinterpret_cast<const std::uint16_t*>(matrix.scales),
               .strips = matrix.shape.strips(),
               .columns = matrix.shape.padded_columns,
               .bits = matrix.shape.type.bits,
               .group = matrix.shape.type.group,
               .q = x.q.data(),
               .x_scales = x.scales.data(),
               .x_offsets = x.offsets.data(),
               .in_rows = in_rows.data(),
               .rows = static_cast<std::int64_t>(in_rows.size()),
               .out = out.data(),
               .out_stride = stride,
               .out_rows = out_rows.data(),
               .out_columns = out_columns,
               .gated = gated,
               .scratch = scratch.as<std::uint8_t>()});
  std::vector<float> in_order;
  for (auto at = out_rows.begin(); at != out_rows.end(); ++at)
    in_order.insert(in_order.end(), out.begin() + *at * stride, out.begin() + (*at + 1) * stride);
  return in_order;
}

std::uint32_t bits_of(float value) {
  return std::bit_cast<std::uint32_t>(value);
}

std::string describe(const TileKernels& row, const TileShape& shape, std::size_t tokens) {
  return std::string(row.name) + ", " + std::to_string(shape.type.bits) + " bits, group " +
         std::to_string(shape.type.group) + ", [" + std::to_string(shape.rows) + ", " +
         std::to_string(shape.columns) + "], " + std::to_string(tokens) + " tokens";
}

struct Case {
  TileType type;
  std::int64_t rows, columns;
};

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const int bits : {4, 8}) {
    for (const int group : {32, 64, 128}) {
      all.push_back({{bits, group}, 64, 128});
      all.push_back({{bits, group}, 130, 300});                      // both padded
      all.push_back({{bits, group}, 64, 1152});                      // nine groups of 128
      all.push_back({{bits, group}, 192, bits == 4 ? 2048 : 1024});  // three strips of 64 KiB
    }
  }
  return all;
}

std::vector<std::int32_t> first_rows(std::size_t count) {
  std::vector<std::int32_t> rows(count);
  std::iota(rows.begin(), rows.end(), 0);
  return rows;
}

TEST(TileKernels, GiveTheDocumentedBitsForEveryNumberOfTokens) {
  for (const Case& c : cases()) {
    const RandomTiles tiles(TileShape(c.type, c.rows, c.columns), 1);
    const auto x = normal_values(static_cast<std::size_t>(101 * c.columns), 2);
    std::vector<float> expected;
    for (std::int64_t t = 0; t < 101; ++t) {
      for (std::int64_t n = 0; n < c.rows; ++n)
        expected.push_back(t < 18 ? expected_result(tiles.matrix(), n, x, t) : 0);
    }
    const Activations scalar_x = quantize(tile_kernels().back(), x, 101, tiles.shape);
    const auto all =
        product(tile_kernels().back(), tiles.matrix(), scalar_x, first_rows(101), c.rows, false);
    for (const TileKernels* row : rows_that_run()) {
      const Activations quantized = quantize(*row, x, 101, tiles.shape);
      ASSERT_EQ(quantized.q, scalar_x.q);
      ASSERT_EQ(quantized.scales, scalar_x.scales);
      ASSERT_EQ(quantized.offsets, scalar_x.offsets);
      for (const std::size_t tokens : std::initializer_list<std::size_t>{
               1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 16, 17, 33, 48, 49, 101}) {
        SCOPED_TRACE(describe(*row, tiles.shape, tokens));
        const auto out =
            product(*row, tiles.matrix(), quantized, first_rows(tokens), c.rows, false);
        const auto stride = static_cast<std::size_t>(tiles.shape.padded_rows);
        for (std::size_t t = 0; t < tokens; ++t) {
          for (std::size_t n = 0; n < stride; ++n) {
            const bool exists = n < static_cast<std::size_t>(c.rows);
            const float wanted = !exists  ? 99.0F
                                 : t < 18 ? expected[t * static_cast<std::size_t>(c.rows) + n]
                                          : all[t * stride + n];
            ASSERT_EQ(bits_of(out[t * stride + n]), bits_of(wanted))
                << "token " << t << ", row " << n << ": " << out[t * stride + n] << ", not "
                << wanted;
          }
        }
      }
    }
  }
}

TEST(TileKernels, GatedResultsAreTheSameBitsInEveryRowAndNearSiluTimesUp) {
  for (const int bits : {4, 8}) {
    const RandomTiles tiles(TileShape({bits, 64}, 192, 256), 3);
    auto x = normal_values(20 * 256, 4);
    for (std::size_t i = 0; i < 256; ++i) x[256 + i] *= 1000;  // exp() leaves its range
    std::vector<float> expected;
    for (const TileKernels* row : rows_that_run()) {
      const Activations quantized = quantize(*row, x, 20, tiles.shape);
      const auto plain = product(*row, tiles.matrix(), quantized, first_rows(20), 192, false);
      for (const std::size_t tokens : {1U, 2U, 20U}) {
        SCOPED_TRACE(describe(*row, tiles.shape, tokens));
        const auto out = product(*row, tiles.matrix(), quantized, first_rows(tokens), 90, true);
        if (expected.empty()) {
          expected =
              product(tile_kernels().back(), tiles.matrix(), quantized, first_rows(20), 90, true);
        }
        for (std::size_t i = 0; i < out.size(); ++i) {
          ASSERT_EQ(bits_of(out[i]), bits_of(expected[i])) << i;
          const std::size_t n = i % 192;
          if (n >= 90) continue;  // 99: not written
          const std::size_t gate_row = i / 192 * 192 + n / 8 * 16 + n % 8;
          const double gate = plain[gate_row];
          const double up = plain[gate_row + 8];
          const double wanted = gate / (1 + std::exp(-gate)) * up;
          // exp: 2^-24 of rounding in each of 8 Horner steps that shrink, about 3 ulps in all;
          // then three roundings. Below -87 silu is within 1e-36 of zero.
          EXPECT_NEAR(out[i], wanted, 1e-6 * std::abs(wanted) + 1e-33 * std::abs(up)) << i;
        }
      }
    }
  }
}

TEST(TileKernels, ARowDoesNotDependOnTheOthers) {
  const RandomTiles tiles(TileShape({4, 128}, 64, 512), 5);
  const auto x = normal_values(60 * 512, 6);
  for (const TileKernels* row : rows_that_run()) {
    const Activations quantized = quantize(*row, x, 60, tiles.shape);
    const auto alone = product(*row, tiles.matrix(), quantized, {7}, 64, false);
    std::vector<std::int32_t> many(60, 7);
    for (std::size_t i = 0; i < many.size(); i += 2) many[i] = static_cast<std::int32_t>(i);
    const auto together = product(*row, tiles.matrix(), quantized, many, 64, false);
    for (std::size_t t = 1; t < many.size(); t += 2) {
      EXPECT_TRUE(std::equal(alone.begin(), alone.end(),
                             together.begin() + static_cast<std::ptrdiff_t>(t * 64)))
          << row->name << ", token " << t;
    }
  }
}

TEST(TileKernels, NanAndInfinityGiveARowOfNanAndNoOther) {
  const RandomTiles tiles(TileShape({4, 32}, 64, 256), 7);
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()}) {
    auto x = normal_values(4 * 256, 8);
    x[256 + 100] = bad;
    for (const TileKernels* row : rows_that_run()) {
      const Activations quantized = quantize(*row, x, 4, tiles.shape);
      for (const bool gated : {false, true}) {
        const auto out = product(*row, tiles.matrix(), quantized, {0, 1, 2, 3}, 64, gated);
        for (std::size_t n = 0; n < (gated ? 32U : 64U); ++n) {
          EXPECT_FALSE(std::isnan(out[n]));
          EXPECT_TRUE(std::isnan(out[64 + n])) << row->name;
          EXPECT_FALSE(std::isnan(out[128 + n]));
        }
      }
    }
  }
}

TEST(TileKernels, QuantizeActivationsAsDocumented) {
  for (const TileKernels* row : rows_that_run()) {
    for (const std::int64_t columns : {1, 7, 8, 100, 128, 301}) {
      for (const int group : {32, 64, 128}) {
        const TileShape shape({8, group}, 64, columns);
        auto x = normal_values(static_cast<std::size_t>(columns), 9);
        x[0] = 0.5F;
        if (columns > 120) std::fill_n(x.begin() + 96, 24, 1e-38F);
        const Activations quantized = quantize(*row, x, 1, shape);
        std::vector<std::int8_t> q(quantized.q.size());
        std::vector<float> scales(quantized.scales.size());
        quantize_activations(x, group, q, scales);
        EXPECT_EQ(quantized.scales, scales) << row->name;
        constexpr std::size_t kOrder[16] = {0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15};
        std::vector<std::int32_t> sums(scales.size());
        for (std::size_t k = 0; k < q.size(); ++k) {
          ASSERT_EQ(quantized.q[k], q[k / 16 * 16 + kOrder[k % 16]]) << row->name << " " << k;
          sums[k / static_cast<std::size_t>(group)] += 128 * q[k];
        }
        EXPECT_EQ(quantized.offsets, sums) << row->name;
      }
    }
  }
}

TEST(TileKernels, SumWeightedPartsInOrder) {
  const auto parts = normal_values(10 * 301, 10);
  const auto weights = normal_values(10, 11);
  for (const TileKernels* row : rows_that_run()) {
    for (const std::int64_t columns : {1, 8, 31, 32, 300}) {
      std::vector<float> out(301, 99.0F);
      row->weighted_sum({parts.data(), 301, weights.data(), 10, columns, out.data()});
      for (std::size_t c = 0; c < 301; ++c) {
        float wanted = 0;
        for (std::size_t j = 0; j < 10; ++j)
          wanted = std::fma(weights[j], parts[j * 301 + c], wanted);
        const bool exists = c < static_cast<std::size_t>(columns);
        ASSERT_EQ(bits_of(out[c]), bits_of(exists ? wanted : 99.0F)) << row->name << " " << c;
      }
    }
  }
}

}  // namespace
}  // namespace krasis::cpu
