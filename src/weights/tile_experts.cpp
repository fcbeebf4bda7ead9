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

constexpr double kDeviation = 0.02;  // as weights/dummy_source.cpp
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
void fill_scales(const TileShape& shape, bf16* scales, float scale, const IsPadding& is_padding) {
  for (std::int64_t row = 0; row < shape.padded_rows; ++row) {
    const bf16 value = is_padding(row) ? bf16{} : to_bf16(scale);
    for (std::int64_t group = 0; group < shape.groups(); ++group)
      scales[tile_scale_index(shape, row, group)] = value;
  }
}

void fill_expert(const ExpertLayout& layout, std::byte* out, const std::vector<std::byte>& block,
                 std::uint64_t seed) {
  const int bits = layout.w13.type.bits;
  const double levels = bits == 4 ? 16 : 255;
  const auto scale = static_cast<float>(kDeviation / std::sqrt((levels * levels - 1) / 12));
  fill_tiles({out + layout.w13_tiles, layout.w13.tile_bytes()}, block, 2 * seed);
  fill_tiles({out + layout.w2_tiles, layout.w2.tile_bytes()}, block, 2 * seed + 1);
  fill_scales(layout.w13, reinterpret_cast<bf16*>(out + layout.w13_scales), scale,
              [&](std::int64_t row) { return row / 16 * 8 + row % 8 >= layout.intermediate; });
  fill_scales(layout.w2, reinterpret_cast<bf16*>(out + layout.w2_scales), scale,
              [&](std::int64_t row) { return row >= layout.hidden; });
}

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
  const std::vector<ExpertSlot> slots = expert_slots(arena->plan());
  ProgressSum progress(options.progress, arena->plan().arena_bytes);
  for_each_in_parallel(
      static_cast<std::int64_t>(slots.size()), options.threads, [&](std::int64_t index) {
        check_cancelled(options);
        const ExpertSlot& slot = slots[static_cast<std::size_t>(index)];
        fill_expert(arena->plan().layers[slot.layer_index].layout, arena->expert(slot).data(),
                    block, static_cast<std::uint64_t>(index));
        progress.add(slot.bytes);
      });
  return arena;
}

}  // namespace krasis
