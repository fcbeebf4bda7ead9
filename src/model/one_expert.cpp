#include "model/one_expert.h"

#include <fmt/format.h>

#include "base/parallel.h"
#include "quant/expert_tiles.h"
#include "quant/quantize.h"

namespace krasis {
namespace {

constexpr TileType kTiles = {.bits = 8, .group = 128};

WeightRows rows_of(const TensorView& view) {
  return {.dtype = view.dtype(),
          .data = view.data(),
          .rows = view.shape()[0],
          .columns = view.shape()[1]};
}

}  // namespace

OneExpert::OneExpert(const Weights& weights, std::int64_t layer, DenseFormat format,
                     Loader& loader) {
  const auto& [gate, up, down] = weights;
  if (up.dtype() != gate.dtype() || down.dtype() != gate.dtype()) {
    throw Error(
        ErrorCode::Unsupported,
        fmt::format("model: layer {}: feed-forward weights are {}, {} and {}, but must "
                    "have one type",
                    layer, name_of(gate.dtype()), name_of(up.dtype()), name_of(down.dtype())));
  }
  matrices_.experts = 1;
  matrices_.hidden = gate.shape()[1];
  matrices_.intermediate = gate.shape()[0];
  if (format == DenseFormat::Int8) {
    quantize(weights, loader);
  } else {
    keep(weights, loader);
  }
}

void OneExpert::keep(const Weights& weights, Loader& loader) {
  plain_ = {loader.place(weights.gate), loader.place(weights.up), loader.place(weights.down)};
  matrices_.gate = &plain_[0].matrix;
  matrices_.up = &plain_[1].matrix;
  matrices_.down = &plain_[2].matrix;
}

void OneExpert::quantize(const Weights& weights, Loader& loader) {
  const ExpertLayout layout(kTiles, matrices_.hidden, matrices_.intermediate);
  HostBuffer contents(layout.expert_bytes);
  std::byte* const base = contents.data();
  const auto scales = [&](std::size_t offset) { return reinterpret_cast<bf16*>(base + offset); };
  const TileTarget w13 = {layout.w13, base + layout.w13_tiles, scales(layout.w13_scales)};
  const TileTarget w2 = {layout.w2, base + layout.w2_tiles, scales(layout.w2_scales)};
  for_each_in_parallel(layout.w13.strips(), 0, [&](std::int64_t strip) {
    quantize_w13_strips(rows_of(weights.gate), rows_of(weights.up), w13, strip, strip + 1);
  });
  for_each_in_parallel(layout.w2.strips(), 0, [&](std::int64_t strip) {
    quantize_strips(rows_of(weights.down), w2, strip, strip + 1);
  });
  tiles_ = loader.place(std::move(contents));
  matrices_ = ExpertMatrices::of(layout, 1, tiles_.data());
}

void OneExpert::run(const Step& step, const ProductRows& x, std::span<const float> weights,
                    MutableRows out) const {
  step.ops.experts({.x = x,
                    .ids = step.zeros,
                    .weights = weights,
                    .top_k = 1,
                    .matrices = matrices_,
                    .out = out});
}

}  // namespace krasis
