#include "weights/expert_builder.h"

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "base/error.h"
#include "weights/packed_int4.h"

namespace krasis {
namespace {

WeightRows rows_of(const TensorView& view) {
  return {.dtype = view.dtype(),
          .data = view.data(),
          .rows = view.shape()[0],
          .columns = view.shape()[1]};
}

WeightRows rows_of(const std::vector<float>& values, const CompressedRows& shape) {
  return {.dtype = DType::F32,
          .data = reinterpret_cast<const std::byte*>(values.data()),
          .rows = shape.rows,
          .columns = shape.columns};
}

TileTarget target_of(const TileShape& shape, std::byte* tiles, std::byte* scales) {
  return {.shape = shape, .tiles = tiles, .scales = reinterpret_cast<bf16*>(scales)};
}

struct Targets {
  Targets(const ExpertLayout& layout, std::byte* out)
      : w13(target_of(layout.w13, out + layout.w13_tiles, out + layout.w13_scales)),
        w2(target_of(layout.w2, out + layout.w2_tiles, out + layout.w2_scales)) {}
  TileTarget w13, w2;
};

void clear_gaps(const ExpertLayout& layout, std::byte* out) {
  const auto clear = [out](std::size_t first, std::size_t last) {
    std::fill(out + first, out + last, std::byte{0});
  };
  clear(layout.w13_tiles + layout.w13.tile_bytes(), layout.w13_scales);
  clear(layout.w13_scales + layout.w13.scale_bytes(), layout.w2_tiles);
  clear(layout.w2_tiles + layout.w2.tile_bytes(), layout.w2_scales);
  clear(layout.w2_scales + layout.w2.scale_bytes(), layout.expert_bytes);
}

}  // namespace

ExpertBuilder::ExpertBuilder(const ModelDescription& model, TensorSource& source,
                             const ExpertCachePlan& plan, ScaleSearch search)
    : model_(model), source_(source), plan_(plan), options_{.search = search, .importance = {}} {}

SparseLayer ExpertBuilder::sparse_layer(const ExpertSlot& slot) const {
  const ExpertCachePlan::Layer& layer = plan_.layers[slot.layer_index];
  return {
      .layer = layer.layer, .experts = layer.experts, .intermediate = layer.layout.intermediate};
}

void ExpertBuilder::build(const ExpertSlot& slot, std::span<std::byte> out) const {
  const ExpertLayout& layout = plan_.layers[slot.layer_index].layout;
  const SparseLayer layer = sparse_layer(slot);
  ensure(out.size() == layout.expert_bytes, "expert builder: output of another size");
  clear_gaps(layout, out.data());
  if (model_.spec.expert_storage == ExpertStorage::PackedInt4) {
    const PackedExpert expert = packed_expert(model_, source_, layer, slot.expert);
    const bool same_group = plan_.type.bits == 4 && plan_.type.group == model_.spec.packed_group;
    same_group ? repack(expert, layout, out.data()) : convert(expert, layout, out.data());
    return;
  }
  const PlainExpert expert = plain_expert(model_, source_, layer, slot.expert);
  try {
    quantize(expert, layout, out.data());
  } catch (const Error& error) {  // the quantizer does not know whose weights it was given
    throw Error(error.code(), "checkpoint: " + source_.description() + ": layer " +
                                  std::to_string(layer.layer) + ", expert " +
                                  std::to_string(slot.expert) + ": " + error.what());
  }
  for (const TensorView& view : {expert.gate, expert.up, expert.down}) source_.done_with(view);
}

void ExpertBuilder::prefetch(const ExpertSlot& slot) const {
  if (model_.spec.expert_storage == ExpertStorage::PackedInt4) return;  // a quarter of the bytes
  const PlainExpert expert = plain_expert(model_, source_, sparse_layer(slot), slot.expert);
  for (const TensorView& view : {expert.gate, expert.up, expert.down}) source_.will_need(view);
}

void ExpertBuilder::quantize(const PlainExpert& expert, const ExpertLayout& layout,
                             std::byte* out) const {
  const Targets to(layout, out);
  quantize_w13_strips(rows_of(expert.gate), rows_of(expert.up), to.w13, 0, layout.w13.strips(),
                      options_);
  quantize_strips(rows_of(expert.down), to.w2, 0, layout.w2.strips(), options_);
}

void ExpertBuilder::repack(const PackedExpert& expert, const ExpertLayout& layout,
                           std::byte* out) const {
  const Targets to(layout, out);
  repack_w13_strips(expert.gate, expert.up, to.w13, 0, layout.w13.strips());
  repack_strips(expert.down, to.w2, 0, layout.w2.strips());
}

void ExpertBuilder::convert(const PackedExpert& expert, const ExpertLayout& layout,
                            std::byte* out) const {
  const Targets to(layout, out);
  const std::int64_t group = model_.spec.packed_group;
  const std::vector<float> gate = dequantize_packed(expert.gate, group);
  const std::vector<float> up = dequantize_packed(expert.up, group);
  const std::vector<float> down = dequantize_packed(expert.down, group);
  quantize_w13_strips(rows_of(gate, expert.gate), rows_of(up, expert.up), to.w13, 0,
                      layout.w13.strips(), options_);
  quantize_strips(rows_of(down, expert.down), to.w2, 0, layout.w2.strips(), options_);
}

}  // namespace krasis
