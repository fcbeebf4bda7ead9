#include "weights/tile_experts.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/parallel.h"
#include "weights/expert_builder.h"
#include "weights/random_bits.h"

namespace krasis {
namespace {

constexpr double kTileDeviation = 0.02;  // as weights/dummy_source.cpp
// Tiles repeat one block: as long as no two experts start at the same place of it they differ, and
// copying is much faster than making bits.
constexpr std::size_t kBlockBytes = std::size_t{4} << 20;

void check_cancelled(const TileOptions& options) {
  if (options.cancel != nullptr) options.cancel->check("experts");
}

std::vector<std::byte> random_block(int bits) {
  std::vector<std::byte> block(kBlockBytes);
  RandomBits random(0);
  for (std::size_t i = 0; i < block.size(); i += sizeof(std::uint64_t)) {
    const std::uint64_t value = random.next();
    std::memcpy(block.data() + i, &value, sizeof(value));
  }
  if (bits == 8) std::ranges::replace(block, std::byte{0}, std::byte{1});  // q = -128 is not used
  return block;
}

void fill_tiles(std::span<std::byte> tiles, const std::vector<std::byte>& block,
                std::uint64_t seed) {
  std::size_t start = RandomBits(seed).next() % block.size();
  while (!tiles.empty()) {
    const std::size_t count = std::min(tiles.size(), block.size() - start);
    std::memcpy(tiles.data(), block.data() + start, count);
    tiles = tiles.subspan(count);
    start = 0;
  }
}

// `is_padding(row)` rows get scale 0. Columns behind the matrix meet zero activations.
template <class IsPadding>
std::vector<bf16> scales_of(const TileShape& shape, const IsPadding& is_padding) {
  const double levels = shape.type.bits == 4 ? 16 : 255;
  const auto scale = static_cast<float>(kTileDeviation / std::sqrt((levels * levels - 1) / 12));
  std::vector<bf16> scales(shape.scale_bytes() / sizeof(bf16));
  for (std::int64_t row = 0; row < shape.padded_rows; ++row) {
    if (is_padding(row)) continue;
    for (std::int64_t group = 0; group < shape.groups(); ++group)
      scales[tile_scale_index(shape, row, group)] = to_bf16(scale);
  }
  return scales;
}

// Made-up experts of one layout: all have the same scales.
class DummyExpert {
 public:
  DummyExpert(const ExpertLayout& layout, const std::vector<std::byte>& block)
      : layout_(layout),
        block_(block),
        w13_scales_(scales_of(
            layout.w13,
            [&](std::int64_t row) { return row / 16 * 8 + row % 8 >= layout.intermediate; })),
        w2_scales_(scales_of(layout.w2, [&](std::int64_t row) { return row >= layout.hidden; })) {}

  void fill(std::byte* out, std::uint64_t seed) const {
    fill_tiles({out + layout_.w13_tiles, layout_.w13.tile_bytes()}, block_, 2 * seed);
    fill_tiles({out + layout_.w2_tiles, layout_.w2.tile_bytes()}, block_, 2 * seed + 1);
    std::memcpy(out + layout_.w13_scales, w13_scales_.data(), layout_.w13.scale_bytes());
    std::memcpy(out + layout_.w2_scales, w2_scales_.data(), layout_.w2.scale_bytes());
  }

 private:
  const ExpertLayout& layout_;
  const std::vector<std::byte>& block_;
  std::vector<bf16> w13_scales_, w2_scales_;
};

}  // namespace

std::unique_ptr<TileArena> make_tile_experts(const ModelDescription& model, TensorSource& source,
                                             const TileOptions& options) {
  auto arena = std::make_unique<TileArena>(plan_expert_cache(model.spec, options.type));
  const ExpertBuilder builder(model, source, arena->plan(), options.search);
  const std::vector<ExpertSlot> slots = expert_slots(arena->plan());
  ProgressSum progress(options.progress, arena->plan().arena_bytes);
  for_each_in_parallel(static_cast<std::int64_t>(slots.size()), options.threads,
                       [&](std::int64_t index) {
                         check_cancelled(options);
                         const ExpertSlot& slot = slots[static_cast<std::size_t>(index)];
                         builder.build(slot, arena->expert(slot));
                         progress.add(slot.bytes);
                       });
  return arena;
}

std::unique_ptr<TileArena> make_dummy_tile_experts(const ModelSpec& spec,
                                                   const TileOptions& options) {
  auto arena = std::make_unique<TileArena>(plan_expert_cache(spec, options.type));
  const std::vector<std::byte> block = random_block(options.type.bits);
  std::vector<DummyExpert> layers;
  for (const ExpertCachePlan::Layer& layer : arena->plan().layers)
    layers.emplace_back(layer.layout, block);
  const std::vector<ExpertSlot> slots = expert_slots(arena->plan());
  ProgressSum progress(options.progress, arena->plan().arena_bytes);
  for_each_in_parallel(static_cast<std::int64_t>(slots.size()), options.threads,
                       [&](std::int64_t index) {
                         check_cancelled(options);
                         const ExpertSlot& slot = slots[static_cast<std::size_t>(index)];
                         layers[slot.layer_index].fill(arena->expert(slot).data(),
                                                       static_cast<std::uint64_t>(index));
                         progress.add(slot.bytes);
                       });
  return arena;
}

}  // namespace krasis
