// What the published models' files say, read into specs. The expected numbers are those of the
// models' papers and cards.
#include "published_configs.h"

#include <cmath>
#include <gtest/gtest.h>

namespace krasis {
namespace {

using namespace test;

std::size_t sparse_layers(const ModelSpec& spec) {
  std::size_t count = 0;
  for (std::size_t layer = 0; layer < spec.layers.size(); ++layer) count += is_sparse(spec, layer);
  return count;
}

TEST(PublishedConfigs, Qwen3CoderNextIsAHybridOfDeltaNetAndGatedAttention) {
  const ModelSpec spec = parse(qwen3_coder_next());
  ASSERT_EQ(spec.layers.size(), 48U);
  EXPECT_EQ(sparse_layers(spec), 48U);
  for (std::size_t layer = 0; layer < 48; ++layer) {
    EXPECT_EQ(std::holds_alternative<GroupedQueryAttention>(spec.layers[layer].mixer),
              layer % 4 == 3);
  }
  EXPECT_TRUE(spec.zero_centred_norms);
  EXPECT_EQ(spec.context_length, 262144);
  EXPECT_EQ(spec.end_ids, std::vector<std::int32_t>{151645});

  const GroupedQueryAttention& attention = grouped(spec, 3);
  EXPECT_EQ(attention.heads, 16);
  EXPECT_EQ(attention.kv_heads, 2);
  EXPECT_EQ(attention.rotary.dim(), 64);
  EXPECT_TRUE(attention.output_gate && attention.qk_norm);
  EXPECT_FALSE(attention.bias || attention.output_bias || attention.rotary.interleaved);
  EXPECT_FLOAT_EQ(attention.scale, 1.0F / 16);

  const auto& net = std::get<GatedDeltaNet>(spec.layers[0].mixer);
  EXPECT_EQ(net.key_heads, 16);
  EXPECT_EQ(net.value_heads, 32);
  EXPECT_EQ(net.conv_width, 4);

  const SparseFfn& ffn = sparse(spec, 0);
  EXPECT_EQ(ffn.routing.experts, 512);
  EXPECT_EQ(ffn.routing.top_k, 10);
  EXPECT_EQ(ffn.intermediate, 512);
  EXPECT_EQ(ffn.shared_intermediate, 512);
  EXPECT_TRUE(ffn.shared_gate && ffn.routing.normalize);
  EXPECT_FALSE(ffn.routing_bias);
  EXPECT_EQ(ffn.routing.scoring, Scoring::Softmax);
}

TEST(PublishedConfigs, Qwen3MoeRoutesEveryLayerWithoutSharedExperts) {
  const ModelSpec spec = parse(qwen3_235b());
  EXPECT_EQ(spec.layers.size(), 94U);
  EXPECT_EQ(sparse_layers(spec), 94U);
  EXPECT_FALSE(spec.zero_centred_norms || spec.tied_head);
  const GroupedQueryAttention& attention = grouped(spec);
  EXPECT_EQ(attention.heads, 64);
  EXPECT_EQ(attention.kv_heads, 4);
  EXPECT_EQ(attention.rotary.dim(), 128);
  EXPECT_TRUE(attention.qk_norm);
  EXPECT_FALSE(attention.output_gate);
  const SparseFfn& ffn = sparse(spec, 93);
  EXPECT_EQ(ffn.routing.experts, 128);
  EXPECT_EQ(ffn.routing.top_k, 8);
  EXPECT_EQ(ffn.shared_intermediate, 0);
  EXPECT_EQ(ffn.routing.groups, 1);
  EXPECT_EQ(ffn.routing.scale, 1.0F);
}

TEST(PublishedConfigs, DeepseekV2LiteHasNoQueryRankAndUnnormalisedWeights) {
  const ModelSpec spec = parse(deepseek_v2_lite());
  EXPECT_EQ(spec.layers.size(), 27U);
  EXPECT_EQ(sparse_layers(spec), 26U);
  EXPECT_FALSE(is_sparse(spec, 0));
  EXPECT_EQ(std::get<DenseFfn>(spec.layers[0].ffn).intermediate, 10944);
  const LatentAttention& attention = latent(spec);
  EXPECT_EQ(attention.q_lora_rank, 0);
  EXPECT_EQ(attention.kv_lora_rank, 512);
  EXPECT_TRUE(attention.rotary.interleaved);
  // 192^-1/2 * (0.1 * 0.707 * ln 40 + 1)^2
  EXPECT_NEAR(attention.scale, 1.5896261651208736 / std::sqrt(192.0), 1e-7);
  EXPECT_EQ(attention.rotary.scale, 1.0F);  // mscale / mscale_all_dim
  const SparseFfn& ffn = sparse(spec, 1);
  EXPECT_EQ(ffn.shared_intermediate, 2816);
  EXPECT_FALSE(ffn.routing.normalize || ffn.routing_bias);
  EXPECT_EQ(ffn.routing.scoring, Scoring::Softmax);
  EXPECT_EQ(ffn.routing.groups, 1);
}

TEST(PublishedConfigs, DeepseekV2ChoosesWithinGroupsByTheirBestExpert) {
  const ModelSpec spec = parse(deepseek_v2());
  EXPECT_EQ(latent(spec).q_lora_rank, 1536);
  const Routing& routing = sparse(spec, 1).routing;
  EXPECT_EQ(routing.groups, 8);
  EXPECT_EQ(routing.top_groups, 3);
  EXPECT_EQ(routing.group_score, GroupScore::Max);
  EXPECT_FLOAT_EQ(routing.scale, 16);
}

TEST(PublishedConfigs, DeepseekV3ChoosesWithinGroupsByTheirTwoBestExperts) {
  const ModelSpec spec = parse(deepseek_v3());
  EXPECT_EQ(spec.layers.size(), 61U);  // without the multi-token prediction layer
  EXPECT_EQ(sparse_layers(spec), 58U);
  const SparseFfn& ffn = sparse(spec, 3);
  EXPECT_EQ(ffn.routing.groups, 8);
  EXPECT_EQ(ffn.routing.top_groups, 4);
  EXPECT_EQ(ffn.routing.group_score, GroupScore::TopTwoSum);
  EXPECT_EQ(ffn.routing.scoring, Scoring::Sigmoid);
  EXPECT_TRUE(ffn.routing_bias && ffn.routing.normalize);
  EXPECT_FLOAT_EQ(ffn.routing.scale, 2.5F);
  EXPECT_EQ(ffn.shared_intermediate, 2048);
  EXPECT_NEAR(latent(spec).scale, 1.8738542070926265 / std::sqrt(192.0), 1e-7);
}

TEST(PublishedConfigs, KimiK2IsDeepseekV3WithOneGroup) {
  const ModelSpec spec = parse(kimi_k2());
  EXPECT_EQ(spec.architecture, "kimi_k2");
  EXPECT_EQ(sparse_layers(spec), 60U);
  const SparseFfn& ffn = sparse(spec, 1);
  EXPECT_EQ(ffn.routing.experts, 384);
  EXPECT_EQ(ffn.routing.groups, 1);
  EXPECT_FLOAT_EQ(ffn.routing.scale, 2.827F);
  EXPECT_EQ(spec.expert_storage, ExpertStorage::Plain);
}

TEST(PublishedConfigs, KimiK25NestsKimiK2WithPackedExperts) {
  const Json config = kimi_k25();
  const ModelSpec spec = parse(config);
  EXPECT_EQ(spec.architecture, "kimi_k25");
  EXPECT_EQ(spec.layers.size(), 61U);
  EXPECT_EQ(spec.expert_storage, ExpertStorage::PackedInt4);
  EXPECT_EQ(spec.packed_group, 32);
  EXPECT_EQ(spec.end_ids, std::vector<std::int32_t>{163586});
  EXPECT_DOUBLE_EQ(spec.norm_eps, 1e-5);
  EXPECT_DOUBLE_EQ(latent(spec).norm_eps, 1e-6);  // the models' code keeps its default here
  EXPECT_EQ(tensor_name(architecture_of(config), Role::ExpertDown, 4, 17),
            "language_model.model.layers.4.mlp.experts.17.down_proj.weight");
}

TEST(PublishedConfigs, Glm47HasBiasesButNoneOnTheOutput) {
  const ModelSpec spec = parse(glm47());
  EXPECT_EQ(spec.layers.size(), 92U);
  EXPECT_EQ(sparse_layers(spec), 89U);
  EXPECT_EQ(spec.end_ids, (std::vector<std::int32_t>{151329, 151336, 151338}));
  const GroupedQueryAttention& attention = grouped(spec);
  EXPECT_TRUE(attention.bias && attention.qk_norm);
  EXPECT_FALSE(attention.output_bias);
  EXPECT_EQ(attention.rotary.dim(), 64);
  EXPECT_FALSE(attention.rotary.interleaved);
  const SparseFfn& ffn = sparse(spec, 3);
  EXPECT_EQ(ffn.routing.scoring, Scoring::Sigmoid);
  EXPECT_TRUE(ffn.routing_bias && ffn.routing.normalize);
  EXPECT_EQ(ffn.shared_intermediate, 1536);
}

TEST(PublishedConfigs, DenseModelsAreRead) {
  const ModelSpec qwen = parse(qwen3_8b());
  EXPECT_TRUE(grouped(qwen).qk_norm);
  EXPECT_EQ(std::get<DenseFfn>(qwen.layers[35].ffn).intermediate, 12288);
  const ModelSpec llama = parse(llama31_8b());
  EXPECT_FALSE(grouped(llama).qk_norm);
  EXPECT_EQ(grouped(llama).head_dim, 128);  // not in the file
  EXPECT_EQ(llama.end_ids.size(), 3U);
}

}  // namespace
}  // namespace krasis
