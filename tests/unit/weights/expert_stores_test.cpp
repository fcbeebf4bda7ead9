#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <string>

#include "support/reference_data.h"
#include "support/small_model.h"
#include "weights/expert_builder.h"
#include "weights/plain_experts.h"
#include "weights/tile_experts.h"

namespace krasis {
namespace {

// Expert matrices as numbers, whichever way a store has them.
struct Numbers {
  std::vector<float> gate, up, down;
};

std::vector<float> numbers_of(const Matrix& matrix) {
  std::vector<float> out(static_cast<std::size_t>(matrix.rows * matrix.columns));
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (matrix.format == Matrix::Format::F32)
      out[i] = reinterpret_cast<const float*>(matrix.data)[i];
    else
      out[i] = to_float(reinterpret_cast<const bf16*>(matrix.data)[i]);
  }
  return out;
}

Numbers numbers_of(const ExpertMatrices& layer, std::int64_t expert) {
  if (!layer.tiled) {
    return {numbers_of(layer.gate[expert]), numbers_of(layer.up[expert]),
            numbers_of(layer.down[expert])};
  }
  const ExpertMatrices::Tiled& tiled = *layer.tiled;
  const std::byte* base = tiled.base + static_cast<std::size_t>(expert) * tiled.expert_bytes;
  const TileMatrix w13{tiled.w13, base + tiled.w13_tiles,
                       reinterpret_cast<const bf16*>(base + tiled.w13_scales)};
  const TileMatrix w2{tiled.w2, base + tiled.w2_tiles,
                      reinterpret_cast<const bf16*>(base + tiled.w2_scales)};
  const auto size = static_cast<std::size_t>(layer.hidden * layer.intermediate);
  Numbers numbers{std::vector<float>(size), std::vector<float>(size), std::vector<float>(size)};
  const auto hidden = static_cast<std::size_t>(layer.hidden);
  for (std::int64_t row = 0; row < layer.intermediate; ++row) {
    const std::size_t first = static_cast<std::size_t>(row) * hidden;
    dequantize_row(w13, w13_gate_row(row), std::span(numbers.gate).subspan(first, hidden));
    dequantize_row(w13, w13_up_row(row), std::span(numbers.up).subspan(first, hidden));
  }
  dequantize(w2, numbers.down);
  return numbers;
}

// Root of the mean square of a - b over that of a.
double relative_error(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0, size = 0;
  EXPECT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference += std::pow(static_cast<double>(a[i]) - b[i], 2);
    size += std::pow(static_cast<double>(a[i]), 2);
  }
  return std::sqrt(difference / size);
}

enum class Compare { AsTheyAre, RoundedToBf16 };

void round_to_bf16(Numbers& numbers) {
  for (std::vector<float>* values : {&numbers.gate, &numbers.up, &numbers.down})
    for (float& value : *values) value = to_float(to_bf16(value));
}

// The largest relative error of any expert's matrix; the other's may be rounded first.
double largest_error(const ExpertStore& exact, const ExpertStore& other, std::int64_t layer,
                     Compare compare = Compare::AsTheyAre) {
  const ExpertMatrices a = exact.layer(layer);
  const ExpertMatrices b = other.layer(layer);
  EXPECT_EQ(a.experts, b.experts);
  EXPECT_EQ(a.hidden, b.hidden);
  EXPECT_EQ(a.intermediate, b.intermediate);
  double largest = 0;
  for (std::int64_t expert = 0; expert < a.experts; ++expert) {
    const Numbers x = numbers_of(a, expert);
    Numbers y = numbers_of(b, expert);
    if (compare == Compare::RoundedToBf16) round_to_bf16(y);
    largest = std::max({largest, relative_error(x.gate, y.gate), relative_error(x.up, y.up),
                        relative_error(x.down, y.down)});
  }
  return largest;
}

TileOptions with(TileType type) {
  TileOptions options;
  options.type = type;
  return options;
}

// A group of 128 normal numbers reaches 2.7 deviations at its largest; rounding to steps of 2.7 / 7
// deviations leaves 2.7 / 7 / sqrt(12) = 0.11 of one, to steps of 2.7 / 127 0.0062. A wrong row,
// column or scale leaves about 1.4.
constexpr double kInt4Error = 0.13;
constexpr double kInt8Error = 0.008;

TEST(ExpertStores, TilesAreTheCheckpointWithinQuantization) {
  const test::SmallModel model;
  const auto source = model.open();
  const auto plain = make_plain_experts(model.description(), *source);
  EXPECT_EQ(plain->bytes(), 0U);
  for (const std::int64_t layer : {1, 2}) {
    for (const int group : {32, 128}) {
      const auto int4 = make_tile_experts(model.description(), *source, with({4, group}));
      EXPECT_LT(largest_error(*plain, *int4, layer), kInt4Error);
      const auto int8 = make_tile_experts(model.description(), *source, with({8, group}));
      EXPECT_LT(largest_error(*plain, *int8, layer), kInt8Error);
      EXPECT_GT(largest_error(*plain, *int8, layer), 0);
    }
  }
}

TEST(ExpertStores, RefuseLayersWithoutRoutedExperts) {
  const test::SmallModel model;
  const auto source = model.open();
  EXPECT_THROW(make_plain_experts(model.description(), *source)->layer(0), Error);
  EXPECT_THROW(make_tile_experts(model.description(), *source, with({4, 128}))->layer(3), Error);
}

TEST(ExpertStores, NameTheTensorThatIsMissing) {
  const test::SmallModel model;
  ModelDescription larger = model.description();
  std::get<SparseFfn>(larger.spec.layers[2].ffn).routing.experts = 4;
  const auto source = model.open();
  const std::string expected =
      "checkpoint: " + model.path().string() + ": no tensor \"layers.2.experts.3.gate.weight\"";
  for (const bool tiles : {false, true}) {
    try {
      if (tiles) {
        make_tile_experts(larger, *source, with({4, 128}));
      } else {
        make_plain_experts(larger, *source);
      }
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(error.what(), expected);
    }
  }
}

TEST(ExpertStores, StopWhenCancelled) {
  const test::SmallModel model;
  const auto source = model.open();
  CancelFlag cancel;
  cancel.raise();
  TileOptions options = with({4, 128});
  options.cancel = &cancel;
  try {
    make_tile_experts(model.description(), *source, options);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::Cancelled);
  }
}

TEST(ExpertStores, ReportProgressToTheEnd) {
  const test::SmallModel model;
  const auto source = model.open();
  TileOptions options = with({4, 128});
  std::uint64_t last = 0;
  options.progress.advance = [&](std::uint64_t done, std::uint64_t total) {
    EXPECT_GT(done, last);
    EXPECT_LE(done, total);
    last = done;
  };
  const auto store = make_tile_experts(model.description(), *source, options);
  EXPECT_EQ(last, 6 * store->plan().layers[0].layout.expert_bytes);
}

TEST(ExpertBuilder, WritesEveryByte) {
  const test::SmallModel model;
  const auto source = model.open();
  const ExpertCachePlan plan = plan_expert_cache(model.description().spec, {4, 128});
  const ExpertBuilder builder(model.description(), *source, plan, ScaleSearch::Nearest);
  const ExpertSlot slot = expert_slots(plan)[4];
  std::vector<std::byte> zeros(slot.bytes, std::byte{0});
  std::vector<std::byte> ones(slot.bytes, std::byte{0xff});
  builder.build(slot, zeros);
  builder.build(slot, ones);
  EXPECT_EQ(zeros, ones);
}

TEST(ExpertStores, AlignEveryPart) {
  const test::SmallModel model;
  const auto source = model.open();
  const auto store = make_tile_experts(model.description(), *source, with({4, 128}));
  const ExpertMatrices::Tiled tiled = *store->layer(2).tiled;
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(tiled.base) % ExpertLayout::kLayerAlignment, 0U);
  EXPECT_EQ(tiled.expert_bytes % ExpertLayout::kPartAlignment, 0U);
}

TEST(DummyExperts, AreTheSameInEveryRunAndOfTheRightSize) {
  const test::SmallModel model;
  for (const int bits : {4, 8}) {
    const auto one = make_dummy_tile_experts(model.description().spec, with({bits, 128}));
    const auto two = make_dummy_tile_experts(model.description().spec, with({bits, 128}));
    EXPECT_TRUE(std::ranges::equal(one->memory(), two->memory()));
    const Numbers numbers = numbers_of(one->layer(1), 2);
    const std::vector<float> zeros(numbers.gate.size());
    double squares = 0;
    for (const float value : numbers.gate) squares += static_cast<double>(value) * value;
    const auto n = static_cast<double>(numbers.gate.size());
    EXPECT_NEAR(std::sqrt(squares / n), 0.02, 0.002);
    EXPECT_GT(relative_error(numbers.gate, numbers_of(one->layer(1), 1).gate), 1);
    EXPECT_GT(relative_error(numbers.gate, numbers_of(one->layer(2), 2).gate), 1);
  }
}

TEST(DummyExperts, HaveZerosWhereThereIsPadding) {
  const test::SmallModel model;
  const auto store = make_dummy_tile_experts(model.description().spec, with({8, 128}));
  const ExpertLayout& layout = store->plan().layers[0].layout;
  const TileMatrix w13 = layout.w13_of(store->memory().data());
  std::vector<float> row(static_cast<std::size_t>(layout.w13.columns));
  dequantize_row(w13, w13_up_row(layout.intermediate), row);
  EXPECT_TRUE(std::ranges::all_of(row, [](float value) { return value == 0; }));
  dequantize_row(w13, w13_up_row(layout.intermediate - 1), row);
  EXPECT_FALSE(std::ranges::any_of(row, [](float value) { return value == 0; }));
}

class ReferenceExperts : public testing::TestWithParam<std::string> {};

TEST_P(ReferenceExperts, TilesAreTheCheckpointWithinQuantization) {
  KRASIS_NEEDS_REFERENCE();
  const auto folder = test::reference_dir() / "models" / GetParam();
  const ModelDescription model = read_model_description(folder);
  const auto source = open_checkpoint(folder);
  const auto plain = make_plain_experts(model, *source);
  const auto tiles = make_tile_experts(model, *source, with({4, 128}));
  for (const ExpertCachePlan::Layer& layer : tiles->plan().layers)
    EXPECT_LT(largest_error(*plain, *tiles, layer.layer), kInt4Error);
}

INSTANTIATE_TEST_SUITE_P(Models, ReferenceExperts,
                         testing::Values("qwen3-moe-tiny", "qwen3-next-tiny",
                                         "deepseek-v2-lite-tiny", "deepseek-v3-tiny",
                                         "kimi-k2-tiny", "glm4-moe-tiny"),
                         [](const auto& model) {
                           std::string name = model.param;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

TEST(PackedExperts, AreRepackedWithoutLoss) {
  KRASIS_NEEDS_REFERENCE();
  const auto folder = test::reference_dir() / "models" / "kimi-k2.5-tiny";
  const ModelDescription model = read_model_description(folder);
  const auto source = open_checkpoint(folder);
  const auto plain = make_plain_experts(model, *source);
  EXPECT_GT(plain->bytes(), 0U);
  const TileType type = expert_tile_type(model.spec, 4);
  EXPECT_EQ(type, (TileType{4, 32}));
  const auto tiles = make_tile_experts(model, *source, with(type));
  EXPECT_EQ(largest_error(*plain, *tiles, 1, Compare::RoundedToBf16), 0);
  EXPECT_GT(largest_error(*plain, *tiles, 1), 0);  // tiles hold what came before the rounding
  EXPECT_LT(largest_error(*plain, *make_tile_experts(model, *source, with({8, 128})), 1),
            kInt8Error);
}

}  // namespace
}  // namespace krasis
