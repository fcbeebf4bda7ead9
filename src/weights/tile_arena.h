// All routed experts of a model as tiles, in one piece of memory: huge pages, spread over the NUMA
// nodes, every layer aligned to 2 MiB, so that a processor reads it at full speed and a device can
// copy any expert or layer as one piece.
#pragma once

#include <cstdint>
#include <span>

#include "tensor/host_buffer.h"
#include "weights/cache_plan.h"
#include "weights/expert_store.h"
#include "weights/memory_placement.h"

namespace krasis {

class TileArena final : public ExpertStore {
 public:
  // Zeros: reserves the address range only, pages come when they are written. Throws
  // Error(OutOfMemory) with the bytes needed.
  explicit TileArena(ExpertCachePlan plan);

  ExpertMatrices layer(std::int64_t layer) const override;
  std::size_t bytes() const override { return static_cast<std::size_t>(plan_.arena_bytes); }

  const ExpertCachePlan& plan() const { return plan_; }
  const MemoryPlacement& placement() const { return placement_; }

  // Everything, aligned to 2 MiB. Experts lie at ExpertSlot::offset.
  std::span<std::byte> memory() { return {base_, bytes()}; }
  std::span<const std::byte> memory() const { return {base_, bytes()}; }
  std::span<std::byte> expert(const ExpertSlot& slot);

 private:
  ExpertCachePlan plan_;
  HostBuffer buffer_;
  std::byte* base_ = nullptr;
  MemoryPlacement placement_;
};

}  // namespace krasis
