#include "weights/cache_plan.h"

#include "base/error.h"
#include "weights/cache_format.h"
#include "weights/expert_tensors.h"

namespace krasis {
namespace {

// More experts or bytes than this are a broken config.json; sums below cannot overflow.
constexpr std::int64_t kMaxExperts = std::int64_t{1} << 20;
constexpr std::uint64_t kMaxBytes = std::uint64_t{1} << 50;

std::uint64_t aligned(std::uint64_t bytes) {
  constexpr std::uint64_t kAlignment = ExpertLayout::kLayerAlignment;
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

[[noreturn]] void fail(const SparseLayer& layer) {
  throw Error(ErrorCode::Unsupported,
              "expert cache: layer " + std::to_string(layer.layer) + ": " +
                  std::to_string(layer.experts) + " experts of intermediate size " +
                  std::to_string(layer.intermediate) + " are more than any machine holds");
}

}  // namespace

std::string ExpertCachePlan::file_name() const {
  return "experts_int" + std::to_string(type.bits) + "_g" + std::to_string(type.group) + ".krt";
}

TileType expert_tile_type(const ModelSpec& spec, int bits, int group) {
  if (bits == 4 && spec.expert_storage == ExpertStorage::PackedInt4)
    group = static_cast<int>(spec.packed_group);
  if (group == 0) group = bits == 8 ? 32 : 128;
  return {.bits = bits, .group = group};
}

ExpertCachePlan plan_expert_cache(const ModelSpec& spec, TileType type) {
  constexpr std::int64_t kMaxSize = std::int64_t{1} << 24;
  ExpertCachePlan plan{.type = type, .hidden = spec.hidden, .layers = {}};
  std::uint64_t end = 0;
  for (const SparseLayer& layer : sparse_layers(spec)) {
    if (layer.experts > kMaxExperts || layer.intermediate > kMaxSize || spec.hidden > kMaxSize)
      fail(layer);
    const ExpertLayout layout(type, spec.hidden, layer.intermediate);
    plan.layers.push_back({layer.layer, layer.experts, layout, plan.arena_bytes});
    const std::uint64_t bytes = plan.layers.back().bytes();
    if (layout.expert_bytes > kMaxBytes || bytes > kMaxBytes) fail(layer);
    end = plan.arena_bytes + bytes;
    plan.arena_bytes += aligned(bytes);
    if (plan.arena_bytes > kMaxBytes) fail(layer);
  }
  plan.header_bytes = aligned(cache_header_bytes(plan.layers.size()));
  plan.file_bytes = plan.header_bytes + end;
  return plan;
}

std::vector<ExpertSlot> expert_slots(const ExpertCachePlan& plan) {
  std::vector<ExpertSlot> slots;
  for (std::size_t i = 0; i < plan.layers.size(); ++i) {
    const ExpertCachePlan::Layer& layer = plan.layers[i];
    const std::size_t bytes = layer.layout.expert_bytes;
    for (std::int64_t expert = 0; expert < layer.experts; ++expert) {
      slots.push_back(
          {i, expert, layer.offset + static_cast<std::uint64_t>(expert) * bytes, bytes});
    }
  }
  return slots;
}

}  // namespace krasis
