#include "cuda/placed_experts.h"

#include <algorithm>

#include "base/error.h"

namespace krasis::cuda {
namespace {

std::vector<ExpertMatrices> numbered(std::span<const ExpertMatrices> layers) {
  std::vector<ExpertMatrices> all(layers.begin(), layers.end());
  for (std::size_t i = 0; i < all.size(); ++i) all[i].placed = static_cast<int>(i);
  return all;
}

std::size_t largest_layer_bytes(std::span<const ExpertMatrices> layers) {
  std::size_t bytes = 0;
  for (const ExpertMatrices& layer : layers) {
    ensure(layer.tiled.has_value(), "placed experts: the experts are not tiled");
    bytes = std::max(bytes, static_cast<std::size_t>(layer.experts) * layer.tiled->expert_bytes);
  }
  return bytes;
}

// Before memory is allocated by it.
const ExpertPlacement& checked(const ExpertPlacement& placement) {
  check(placement);
  return placement;
}

}  // namespace

PlacedExperts::PlacedExperts(std::span<const ExpertMatrices> layers,
                             const ExpertPlacement& placement, Memory& memory, const Stream& main,
                             Ops& processor)
    : layers_(numbered(layers)),
      placement_(checked(placement)),
      ring_(memory.allocate(static_cast<std::size_t>(placement.ring_layers) *
                            largest_layer_bytes(layers))),
      slots_(memory, layers_, placement.resident),
      copies_(layers_),
      context_{.layers = layers_,
               .placement = placement_,
               .slots = slots_,
               .copies = copies_,
               .ring = {ring_.data(), ring_.bytes()},
               .memory = memory,
               .main = main,
               .processor = processor} {}

PlacedExperts::~PlacedExperts() = default;

void PlacedExperts::begin_pass(std::int64_t /*tokens*/, std::int64_t /*parts*/) {
  in_pass_ = true;
}

void PlacedExperts::end_pass() {
  in_pass_ = false;
}

void PlacedExperts::run(const Experts& /*op*/, const Launch& /*launch*/) {
  throw Error(ErrorCode::Unsupported, "placed experts: no way to run them");
}

}  // namespace krasis::cuda
