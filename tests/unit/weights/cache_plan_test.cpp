#include "weights/cache_plan.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace krasis {
namespace {

ModelSpec spec_of(std::int64_t dense, std::int64_t sparse, std::int64_t experts,
                  std::int64_t hidden, std::int64_t intermediate) {
  ModelSpec spec;
  spec.hidden = hidden;
  SparseFfn ffn;
  ffn.intermediate = intermediate;
  ffn.routing.experts = experts;
  for (std::int64_t i = 0; i < dense; ++i)
    spec.layers.push_back({GroupedQueryAttention{}, DenseFfn{}});
  for (std::int64_t i = 0; i < sparse; ++i) spec.layers.push_back({GroupedQueryAttention{}, ffn});
  return spec;
}

TEST(CachePlan, AddsUpTilesAndScales) {
  // 128 experts of 3 * 2048 * 768 weights: half a byte each, and 2 bytes for each group of 128.
  const ExpertCachePlan plan = plan_expert_cache(spec_of(0, 48, 128, 2048, 768), {4, 128});
  const std::uint64_t weights = 3 * 2048 * 768;
  EXPECT_EQ(plan.layers[0].layout.expert_bytes, weights / 2 + weights / 64);
  const std::uint64_t layer_bytes = 128 * (weights / 2 + weights / 64);  // 148.5 times 2 MiB
  EXPECT_EQ(plan.layers[0].bytes(), layer_bytes);
  EXPECT_EQ(plan.arena_bytes, 48 * (layer_bytes + (1 << 20)));
  EXPECT_EQ(plan.header_bytes, std::uint64_t{2} << 20);
  EXPECT_EQ(plan.file_bytes, plan.header_bytes + plan.arena_bytes - (1 << 20));
  EXPECT_EQ(plan.file_name(), "experts_int4_g128.krt");
}

TEST(CachePlan, AlignsLayersAndCountsSparseOnesOnly) {
  const ExpertCachePlan plan = plan_expert_cache(spec_of(2, 3, 5, 100, 30), {8, 64});
  ASSERT_EQ(plan.layers.size(), 3U);
  EXPECT_EQ(plan.layers[0].layer, 2);
  EXPECT_EQ(plan.layers[2].offset, 2 * ExpertLayout::kLayerAlignment);
  EXPECT_EQ(plan.arena_bytes, 3 * ExpertLayout::kLayerAlignment);
  EXPECT_EQ(plan.file_bytes, plan.header_bytes + plan.layers[2].offset + plan.layers[2].bytes());
  EXPECT_EQ(plan.file_name(), "experts_int8_g64.krt");
  const std::vector<ExpertSlot> slots = expert_slots(plan);
  ASSERT_EQ(slots.size(), 15U);
  EXPECT_EQ(slots[7].layer_index, 1U);
  EXPECT_EQ(slots[7].expert, 2);
  EXPECT_EQ(slots[7].offset, plan.layers[1].offset + 2 * slots[7].bytes);
}

TEST(CachePlan, KeepsTheGroupOfPackedExperts) {
  ModelSpec spec = spec_of(0, 1, 2, 256, 128);
  EXPECT_EQ(expert_tile_type(spec, 4), (TileType{4, 128}));
  spec.expert_storage = ExpertStorage::PackedInt4;
  spec.packed_group = 32;
  EXPECT_EQ(expert_tile_type(spec, 4), (TileType{4, 32}));
  EXPECT_EQ(expert_tile_type(spec, 8, 128), (TileType{8, 128}));
}

TEST(CachePlan, HasAUsualGroupForEveryWidth) {
  const ModelSpec spec = spec_of(0, 1, 2, 256, 128);
  EXPECT_EQ(expert_tile_type(spec, 4), (TileType{4, 128}));
  EXPECT_EQ(expert_tile_type(spec, 8), (TileType{8, 32}));
  EXPECT_EQ(expert_tile_type(spec, 4, 64), (TileType{4, 64}));
}

TEST(CachePlan, RefusesWhatNoMachineHolds) {
  EXPECT_THROW(plan_expert_cache(spec_of(0, 1, std::int64_t{1} << 40, 64, 64), {4, 128}), Error);
  EXPECT_THROW(plan_expert_cache(spec_of(0, 1, 1, std::int64_t{1} << 30, 64), {4, 128}), Error);
  EXPECT_THROW(plan_expert_cache(spec_of(0, 40, 1 << 19, 1 << 20, 1 << 20), {4, 128}), Error);
  EXPECT_THROW(plan_expert_cache(spec_of(0, 1, 1, 64, 64), {5, 128}), Error);
  EXPECT_TRUE(plan_expert_cache(spec_of(2, 0, 0, 64, 64), {4, 128}).layers.empty());
}

}  // namespace
}  // namespace krasis
