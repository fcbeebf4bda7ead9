// Experts on tiles where the device takes different ways: few and many pairs an expert, blocks of
// every width, tokens in several parts. The oracle gets the same weights as F32 and the same x,
// already rounded to BF16, so that only the device's own roundings remain.
#include "conformance/support.h"
#include "gpu/device.h"
#include "gpu/staged_ops.h"
#include "quant/quantize.h"

namespace krasis {
namespace {

using test::relative_error;
using test::StagedOps;
using test::StridedRows;

// BF16 rounds by 1.6e-3 on average: products, scale * q of two matrices, and what an expert yields.
constexpr double kTolerance = 5e-3;

struct Case {
  std::int64_t tokens, experts, top_k, hidden, intermediate;
  TileType type;
  double skew = 0;  // how much more the first experts are chosen
};

class Layer {
 public:
  explicit Layer(const Case& given)
      : layout_(given.type, given.hidden, given.intermediate),
        tiles_(layout_.expert_bytes * static_cast<std::size_t>(given.experts)) {
    const std::int64_t count = given.hidden * given.intermediate;
    for (std::int64_t e = 0; e < given.experts; ++e) {
      std::byte* expert = tiles_.data() + static_cast<std::size_t>(e) * layout_.expert_bytes;
      const auto seed = static_cast<unsigned>(3 * e);
      const auto values = [&](unsigned which) {
        return test::normal_values(count, 50 + seed + which, 0.1F);
      };
      const std::vector<float> gate = values(0), up = values(1), down = values(2);
      const auto scales = [&](std::size_t at) { return reinterpret_cast<bf16*>(expert + at); };
      quantize_w13_strips(rows_of(gate, given.intermediate, given.hidden),
                          rows_of(up, given.intermediate, given.hidden),
                          {layout_.w13, expert + layout_.w13_tiles, scales(layout_.w13_scales)}, 0,
                          layout_.w13.strips());
      quantize_strips(rows_of(down, given.hidden, given.intermediate),
                      {layout_.w2, expert + layout_.w2_tiles, scales(layout_.w2_scales)}, 0,
                      layout_.w2.strips());
      widen(expert, given);
    }
  }

  ExpertMatrices tiled(const Case& given) const {
    return {.experts = given.experts,
            .hidden = given.hidden,
            .intermediate = given.intermediate,
            .tiled = ExpertMatrices::Tiled{tiles_.data(), layout_.expert_bytes, layout_.w13,
                                           layout_.w2, layout_.w13_tiles, layout_.w13_scales,
                                           layout_.w2_tiles, layout_.w2_scales}};
  }
  ExpertMatrices plain(const Case& given) const {
    return {.experts = given.experts,
            .hidden = given.hidden,
            .intermediate = given.intermediate,
            .gate = gate_.data(),
            .up = up_.data(),
            .down = down_.data(),
            .tiled = std::nullopt};
  }

 private:
  static WeightRows rows_of(const std::vector<float>& values, std::int64_t rows,
                            std::int64_t columns) {
    return {.dtype = DType::F32,
            .data = reinterpret_cast<const std::byte*>(values.data()),
            .rows = rows,
            .columns = columns};
  }

  void widen(const std::byte* expert, const Case& given) {
    const TileMatrix w13 = layout_.w13_of(expert);
    const auto columns = static_cast<std::size_t>(given.hidden);
    std::vector<float> gate(columns * static_cast<std::size_t>(given.intermediate));
    std::vector<float> up(gate.size()), down(gate.size());
    for (std::int64_t r = 0; r < given.intermediate; ++r) {
      const std::size_t at = static_cast<std::size_t>(r) * columns;
      dequantize_row(w13, w13_gate_row(r), std::span(gate).subspan(at, columns));
      dequantize_row(w13, w13_up_row(r), std::span(up).subspan(at, columns));
    }
    dequantize(layout_.w2_of(expert), down);
    add(gate_, given.intermediate, given.hidden, gate);
    add(up_, given.intermediate, given.hidden, up);
    add(down_, given.hidden, given.intermediate, down);
  }

  void add(std::vector<Matrix>& list, std::int64_t rows, std::int64_t columns,
           const std::vector<float>& values) {
    memory_.emplace_back(Matrix::Format::F32, rows, columns, values);
    list.push_back(memory_.back().matrix());
  }

  ExpertLayout layout_;
  std::vector<std::byte> tiles_;
  std::vector<test::PlainMatrix> memory_;
  std::vector<Matrix> gate_, up_, down_;
};

// The last expert is never chosen if there are several.
std::vector<std::int32_t> choice(const Case& given) {
  std::mt19937 random(11);
  std::uniform_real_distribution<double> share(0, 1);
  const std::int64_t choices = std::max<std::int64_t>(1, given.experts - 1);
  std::vector<std::int32_t> ids(static_cast<std::size_t>(given.tokens * given.top_k));
  for (std::int32_t& id : ids) {
    const double at = std::pow(share(random), 1 + given.skew) * static_cast<double>(choices);
    id = static_cast<std::int32_t>(std::min(choices - 1, static_cast<std::int64_t>(at)));
  }
  return ids;
}

void expect_agreement(const Case& given, Ops& device) {
  SCOPED_TRACE(std::to_string(given.tokens) + " tokens, " + std::to_string(given.experts) +
               " experts, int" + std::to_string(given.type.bits) + " in groups of " +
               std::to_string(given.type.group));
  const Layer layer(given);
  std::vector<float> values = test::normal_values(given.tokens * given.hidden, 7);
  for (float& value : values) value = to_float(to_bf16(value));
  StridedRows x(given.tokens, given.hidden, values);
  StridedRows expected(given.tokens, given.hidden), actual(given.tokens, given.hidden);
  const std::vector<std::int32_t> ids = choice(given);
  const std::vector<float> weights = test::normal_values(given.tokens * given.top_k, 8);
  Experts op{.x = x.view(),
             .ids = ids,
             .weights = weights,
             .top_k = given.top_k,
             .matrices = layer.plain(given),
             .out = expected.view()};
  make_reference_ops()->experts(op);

  StagedOps ops(device);
  op.matrices = layer.tiled(given);
  op.out = actual.view();
  ops.experts(op);
  EXPECT_LT(relative_error(actual.values(), expected.values()), kTolerance);
  EXPECT_TRUE(actual.gaps_untouched());

  StridedRows again(given.tokens, given.hidden);
  op.out = again.view();
  ops.experts(op);
  EXPECT_EQ(again.values(), actual.values());
}

TEST(DeviceExperts, AgreeForEveryTileType) {
  for (const int bits : {4, 8}) {
    for (const int group : {32, 64, 128}) {
      for (const std::int64_t tokens : {1, 8, 9, 150})
        expect_agreement({tokens, 6, 3, 200, 72, {bits, group}, 1}, test::device_ops());
    }
  }
}

TEST(DeviceExperts, AgreeForBlocksOfEveryWidth) {
  for (const std::int64_t tokens : {13, 17, 33, 60, 65, 90, 100, 128, 129, 161, 300})
    expect_agreement({tokens, 2, 2, 128, 96, {4, 128}}, test::device_ops());
}

TEST(DeviceExperts, AgreeForSumsLongerThanWhatIsCopiedAhead) {
  for (const int bits : {4, 8})
    expect_agreement({160, 3, 2, 1024, 96, {bits, 128}}, test::device_ops());
}

TEST(DeviceExperts, AgreeWithMoreExpertsThanTokens) {
  expect_agreement({40, 100, 4, 64, 32, {4, 32}, 2}, test::device_ops());
  expect_agreement({600, 1100, 2, 64, 32, {4, 64}}, test::device_ops());
}

TEST(DeviceExperts, AgreeAsADenseNetwork) {
  for (const std::int64_t tokens : {1, 8, 9, 48, 49, 257, 1100})
    expect_agreement({tokens, 1, 1, 192, 160, {8, 64}}, test::device_ops());
}

TEST(DeviceExperts, WorkThroughTokensInParts) {
  const auto ops = test::make_device_ops({.scratch_bytes = std::size_t{300} << 10});
  expect_agreement({700, 5, 2, 128, 64, {4, 128}, 1}, *ops);
  // A dense network's products want most of this.
  const auto dense = test::make_device_ops({.scratch_bytes = std::size_t{36} << 20});
  expect_agreement({3000, 1, 1, 192, 160, {8, 64}}, *dense);
}

}  // namespace
}  // namespace krasis
