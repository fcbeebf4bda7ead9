#include "weights/tile_arena.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"

namespace krasis {

TileArena::TileArena(ExpertCachePlan plan) : plan_(std::move(plan)) {
  constexpr std::uintptr_t kAlignment = ExpertLayout::kLayerAlignment;
  buffer_ = HostBuffer(bytes() + (bytes() == 0 ? 0 : kAlignment));
  const auto address = reinterpret_cast<std::uintptr_t>(buffer_.data());
  base_ = buffer_.data() + (kAlignment - address % kAlignment) % kAlignment;
  const std::vector<int> nodes = memory_nodes();
  if (nodes.size() > 1) placement_ = interleave_memory(buffer_.data(), buffer_.bytes(), nodes);
}

ExpertMatrices TileArena::layer(std::int64_t layer) const {
  const auto found = std::ranges::find(plan_.layers, layer, &ExpertCachePlan::Layer::layer);
  if (found == plan_.layers.end()) {
    throw Error(ErrorCode::InvalidArgument,
                "experts: layer " + std::to_string(layer) + " has no routed experts");
  }
  return ExpertMatrices::of(found->layout, found->experts, base_ + found->offset);
}

std::span<std::byte> TileArena::expert(const ExpertSlot& slot) {
  return memory().subspan(static_cast<std::size_t>(slot.offset), slot.bytes);
}

}  // namespace krasis
