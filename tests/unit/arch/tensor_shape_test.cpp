#include "arch/tensor_shape.h"

#include <gtest/gtest.h>

#include "published_configs.h"

namespace krasis {
namespace {

using namespace test;

TEST(TensorShape, IsThatOfThePublishedFiles) {
  const ModelSpec next = parse(qwen3_coder_next());
  EXPECT_EQ(tensor_shape(next, Role::Query, 3), Shape({8192, 2048}));  // query and gate
  EXPECT_EQ(tensor_shape(next, Role::DeltaQkvz, 0), Shape({12288, 2048}));
  EXPECT_EQ(tensor_shape(next, Role::DeltaBa, 0), Shape({64, 2048}));
  EXPECT_EQ(tensor_shape(next, Role::DeltaConv, 0), Shape({8192, 1, 4}));
  EXPECT_EQ(tensor_shape(next, Role::SharedExpertGate, 0), Shape({1, 2048}));
  const ModelSpec kimi = parse(kimi_k2());
  EXPECT_EQ(tensor_shape(kimi, Role::QueryUp, 0), Shape({12288, 1536}));
  EXPECT_EQ(tensor_shape(kimi, Role::KvDown, 0), Shape({576, 7168}));
  EXPECT_EQ(tensor_shape(kimi, Role::KvUp, 0), Shape({16384, 512}));
  EXPECT_EQ(tensor_shape(kimi, Role::Gate, 0), Shape({18432, 7168}));
  EXPECT_EQ(tensor_shape(kimi, Role::ExpertDown, 1), Shape({7168, 2048}));
  const ModelSpec glm = parse(glm47());
  EXPECT_EQ(tensor_shape(glm, Role::QueryBias, 0), Shape({12288}));
  EXPECT_EQ(tensor_shape(glm, Role::RouterBias, 3), Shape({160}));
}

TEST(TensorShape, IsNoneForTensorsThatALayerLacks) {
  const ModelSpec next = parse(qwen3_coder_next());
  EXPECT_EQ(tensor_shape(next, Role::Query, 0), std::nullopt);
  EXPECT_EQ(tensor_shape(next, Role::DeltaQkvz, 3), std::nullopt);
  EXPECT_EQ(tensor_shape(next, Role::QueryBias, 3), std::nullopt);
  const ModelSpec lite = parse(deepseek_v2_lite());
  EXPECT_EQ(tensor_shape(lite, Role::QueryDown, 0), std::nullopt);
  EXPECT_EQ(tensor_shape(lite, Role::Query, 0), Shape({3072, 2048}));
  EXPECT_EQ(tensor_shape(lite, Role::Router, 0), std::nullopt);
  EXPECT_EQ(tensor_shape(lite, Role::RouterBias, 1), std::nullopt);
  const ModelSpec glm = parse(glm47());
  EXPECT_EQ(tensor_shape(glm, Role::OutputBias, 0), std::nullopt);
}

}  // namespace
}  // namespace krasis
