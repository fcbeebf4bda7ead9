// Files that say the same in another way, or leave it out.
#include <gtest/gtest.h>

#include "published_configs.h"

namespace krasis {
namespace {

using namespace test;

Json without(Json config, std::initializer_list<const char*> keys) {
  for (const char* key : keys) config.erase(key);
  return config;
}
Json with(Json config, const char* key, const Json& value) {
  config[key] = value;
  return config;
}

TEST(ConfigVariants, AMissingHeadDimIsHiddenOverHeadsOrTheArchitecturesOwn) {
  EXPECT_EQ(grouped(parse(without(llama31_8b(), {"head_dim"}))).head_dim, 128);
  EXPECT_EQ(grouped(parse(without(qwen3_235b(), {"head_dim"}))).head_dim, 64);
  EXPECT_EQ(grouped(parse(with(qwen3_235b(), "head_dim", nullptr))).head_dim, 64);
  EXPECT_EQ(grouped(parse(without(with(qwen3_8b(), "hidden_size", 1024), {"head_dim"}))).head_dim,
            128);
  EXPECT_EQ(grouped(parse(without(qwen3_coder_next(), {"head_dim"})), 3).head_dim, 256);
}

TEST(ConfigVariants, ExpertsGoByThreeNames) {
  for (const char* key : {"n_routed_experts", "num_experts", "num_local_experts"}) {
    const Json moe = with(without(qwen3_235b(), {"num_experts"}), key, 96);
    EXPECT_EQ(sparse(parse(moe), 0).routing.experts, 96) << key;
    const Json glm = with(without(glm47(), {"n_routed_experts"}), key, 96);
    EXPECT_EQ(sparse(parse(glm), 3).routing.experts, 96) << key;
  }
}

TEST(ConfigVariants, EndIdsAreANumberAListOrAbsent) {
  EXPECT_EQ(parse(with(llama31_8b(), "eos_token_id", 7)).end_ids, std::vector<std::int32_t>{7});
  EXPECT_EQ(parse(with(llama31_8b(), "eos_token_id", {7, 9, 7})).end_ids,
            (std::vector<std::int32_t>{7, 9}));
  EXPECT_TRUE(parse(with(llama31_8b(), "eos_token_id", nullptr)).end_ids.empty());
}

TEST(ConfigVariants, DenseLayersAreNamedOrCounted) {
  const ModelSpec named = parse(with(qwen3_235b(), "mlp_only_layers", {0, 3}));
  EXPECT_FALSE(is_sparse(named, 0) || is_sparse(named, 3));
  EXPECT_TRUE(is_sparse(named, 1) && is_sparse(named, 2));
  const ModelSpec stepped = parse(with(qwen3_coder_next(), "decoder_sparse_step", 2));
  EXPECT_FALSE(is_sparse(stepped, 0));
  EXPECT_TRUE(is_sparse(stepped, 1));
  const ModelSpec every_third = parse(with(deepseek_v3(), "moe_layer_freq", 3));
  EXPECT_TRUE(is_sparse(every_third, 3) && !is_sparse(every_third, 4) && is_sparse(every_third, 6));
  std::vector<int> flags(61, 1);
  flags[5] = 0;
  const ModelSpec listed = parse(with(kimi_k2(), "moe_layer_freq", flags));
  EXPECT_TRUE(is_sparse(listed, 0) && !is_sparse(listed, 5));
  EXPECT_TRUE(is_sparse(parse(with(glm47(), "first_k_dense_replace", 0)), 0));
}

TEST(ConfigVariants, LayerTypesAreListedOrCounted) {
  std::vector<std::string> types(48, "linear_attention");
  types[0] = "full_attention";
  const ModelSpec listed = parse(with(qwen3_coder_next(), "layer_types", types));
  EXPECT_TRUE(std::holds_alternative<GroupedQueryAttention>(listed.layers[0].mixer));
  EXPECT_TRUE(std::holds_alternative<GatedDeltaNet>(listed.layers[3].mixer));
  const ModelSpec counted = parse(with(qwen3_coder_next(), "full_attention_interval", 2));
  EXPECT_TRUE(std::holds_alternative<GroupedQueryAttention>(counted.layers[1].mixer));
  const ModelSpec full =
      parse(with(qwen3_8b(), "layer_types", std::vector<std::string>(36, "full_attention")));
  EXPECT_EQ(full.layers.size(), 36U);
}

TEST(ConfigVariants, BiasesAndNormsFollowTheirKeys) {
  EXPECT_TRUE(grouped(parse(with(llama31_8b(), "attention_bias", true))).output_bias);
  EXPECT_TRUE(grouped(parse(with(qwen3_235b(), "attention_bias", true))).output_bias);
  EXPECT_FALSE(grouped(parse(with(glm47(), "attention_bias", false))).bias);
  EXPECT_FALSE(grouped(parse(with(glm47(), "use_qk_norm", false))).qk_norm);
  EXPECT_FALSE(grouped(parse(without(glm47(), {"use_qk_norm"}))).qk_norm);
  EXPECT_TRUE(latent(parse(with(deepseek_v3(), "attention_bias", true))).bias);
  EXPECT_TRUE(std::get<DenseFfn>(parse(with(llama31_8b(), "mlp_bias", true)).layers[0].ffn).bias);
}

TEST(ConfigVariants, RoutingFollowsItsKeys) {
  EXPECT_FALSE(sparse(parse(with(qwen3_235b(), "norm_topk_prob", false)), 0).routing.normalize);
  EXPECT_FALSE(sparse(parse(without(qwen3_235b(), {"norm_topk_prob"})), 0).routing.normalize);
  EXPECT_TRUE(sparse(parse(without(qwen3_coder_next(), {"norm_topk_prob"})), 0).routing.normalize);
  EXPECT_FALSE(sparse(parse(with(glm47(), "norm_topk_prob", false)), 3).routing.normalize);
  EXPECT_EQ(sparse(parse(with(glm47(), "n_shared_experts", 3)), 3).shared_intermediate, 4608);
  EXPECT_EQ(sparse(parse(with(deepseek_v3(), "n_shared_experts", 0)), 3).shared_intermediate, 0);
  EXPECT_FLOAT_EQ(sparse(parse(without(glm47(), {"routed_scaling_factor"})), 3).routing.scale, 1);
  const Json no_groups = without(with(deepseek_v2(), "topk_method", "greedy"), {"n_group"});
  EXPECT_EQ(sparse(parse(no_groups), 1).routing.groups, 1);
}

TEST(ConfigVariants, LatentAttentionMayHaveQueryRankAndHalvesForRotary) {
  EXPECT_EQ(latent(parse(with(deepseek_v3(), "q_lora_rank", nullptr))).q_lora_rank, 0);
  EXPECT_FALSE(latent(parse(with(deepseek_v3(), "rope_interleave", false))).rotary.interleaved);
}

TEST(ConfigVariants, TiedHeadsHaveNoTensorOfTheirOwn) {
  EXPECT_TRUE(parse(with(qwen3_8b(), "tie_word_embeddings", true)).tied_head);
  EXPECT_FALSE(parse(without(qwen3_8b(), {"tie_word_embeddings"})).tied_head);
}

TEST(ConfigVariants, AWindowThatChangesNothingIsIgnored) {
  const Json off = with(qwen3_8b(), "sliding_window", 4096);
  EXPECT_NO_THROW(parse(off));
  Json on = with(off, "use_sliding_window", true);
  EXPECT_NO_THROW(parse(on));  // max_window_layers leaves no layer to slide
  on["max_window_layers"] = 35;
  EXPECT_THROW(parse(on), Error);
  on["sliding_window"] = 40960;
  EXPECT_NO_THROW(parse(on));  // as long as the context
}

TEST(ConfigVariants, PackedExpertsMayBeNamedOutsideTheText) {
  Json config = kimi_k25();
  config["quantization_config"] = config["text_config"]["quantization_config"];
  config["text_config"].erase("quantization_config");
  EXPECT_EQ(parse(config).packed_group, 32);
}

TEST(ConfigVariants, IntegersMayBeWrittenAsFloats) {
  EXPECT_EQ(parse(with(glm47(), "hidden_size", 5120.0)).hidden, 5120);
}

}  // namespace
}  // namespace krasis
