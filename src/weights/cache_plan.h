// How many bytes the routed experts of a model take as tiles, and where each lies: arithmetic only,
// from the spec alone. The cache file, the arena, `krasis quantize` and the refusal of what does
// not fit in memory all use these numbers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "arch/model_spec.h"
#include "quant/expert_tiles.h"

namespace krasis {

struct ExpertCachePlan {
  struct Layer {
    std::int64_t layer;  // its number in ModelSpec::layers
    std::int64_t experts;
    ExpertLayout layout;
    std::uint64_t offset;  // from the first layer, a multiple of ExpertLayout::kLayerAlignment

    std::uint64_t bytes() const {
      return static_cast<std::uint64_t>(experts) * layout.expert_bytes;
    }
  };

  TileType type;
  std::int64_t hidden = 0;
  std::vector<Layer> layers;  // in order

  std::uint64_t arena_bytes = 0;   // in RAM: all layers, each rounded up to the alignment
  std::uint64_t header_bytes = 0;  // of the file, in front of the first layer
  std::uint64_t file_bytes = 0;    // on disk

  std::string file_name() const;  // "experts_int4_g128.krt"
};

// The tiles that a model's experts are kept as. Experts that come as packed INT4 keep their own
// group where 4 bits are asked for, so that nothing is lost; otherwise it is `bits` and `group`,
// where 0 stands for the usual one: 128 with 4 bits, 32 with 8 bits, whose users want nearness more
// than the last 5 % of size.
TileType expert_tile_type(const ModelSpec& spec, int bits, int group = 0);

// Throws Error(Unsupported) if the tile type is none of those of quant/tiles.h or the sizes are
// beyond any machine. A model without routed experts has a plan without layers.
ExpertCachePlan plan_expert_cache(const ModelSpec& spec, TileType type);

// One expert of a plan; experts are numbered through all layers.
struct ExpertSlot {
  std::size_t layer_index;  // in ExpertCachePlan::layers
  std::int64_t expert;      // in the layer
  std::uint64_t offset;     // from the first layer
  std::size_t bytes;
};
std::vector<ExpertSlot> expert_slots(const ExpertCachePlan& plan);

}  // namespace krasis
