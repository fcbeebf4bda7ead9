// Every file that cannot be run is refused with words that name the key and what it holds.
#include <cmath>
#include <functional>
#include <gtest/gtest.h>

#include "published_configs.h"

namespace krasis {
namespace {

using namespace test;

struct Refusal {
  ErrorCode code;
  std::string text;
};

Refusal refusal(const Json& config) {
  try {
    parse(config);
  } catch (const Error& error) {
    return {error.code(), error.what()};
  }
  return {ErrorCode::Internal, "not refused"};
}

Refusal refusal(Json config, const char* key, const Json& value) {
  config[key] = value;
  return refusal(config);
}

TEST(RefusedConfigs, AnUnknownModelTypeListsTheKnownOnes) {
  const Refusal unknown = refusal(llama31_8b(), "model_type", "mamba");
  EXPECT_EQ(unknown.code, ErrorCode::Unsupported);
  EXPECT_EQ(unknown.text,
            "config.json: \"model_type\" is \"mamba\", but the known ones are qwen3_next, "
            "qwen3_moe, deepseek_v2, deepseek_v3, kimi_k2, kimi_k25, glm4_moe, qwen3, llama");
  EXPECT_EQ(refusal(Json::parse(R"({"hidden_size": 4})")).text,
            "config.json: \"model_type\" is nothing, but must name an architecture");
  EXPECT_EQ(refusal(Json::parse("[1]")).text, "config.json: is not a JSON object");
  EXPECT_EQ(refusal(llama31_8b(), "model_type", 3).text,
            "config.json: \"model_type\" is 3, but must be a string");
}

TEST(RefusedConfigs, AbsurdNumbersNameTheirKey) {
  const Refusal zero = refusal(llama31_8b(), "hidden_size", 0);
  EXPECT_EQ(zero.code, ErrorCode::Corrupt);
  EXPECT_EQ(zero.text, "config.json: \"hidden_size\" is 0, but must be an integer of 1 to 4194304");
  EXPECT_EQ(refusal(llama31_8b(), "num_hidden_layers", -1).text,
            "config.json: \"num_hidden_layers\" is -1, but must be an integer of 1 to 1024");
  EXPECT_EQ(refusal(llama31_8b(), "num_attention_heads", 2.5).text,
            "config.json: \"num_attention_heads\" is 2.5, but must be an integer of 1 to 4096");
  EXPECT_EQ(refusal(llama31_8b(), "rms_norm_eps", "small").text,
            "config.json: \"rms_norm_eps\" is \"small\", but must be a number of 1e-12 to 1");
  EXPECT_EQ(refusal(llama31_8b(), "rope_theta", std::nan("")).text,
            "config.json: \"rope_theta\" is not finite, but must be a number of 1.0001 to "
            "1000000000000000");
  EXPECT_EQ(refusal(llama31_8b(), "vocab_size", nullptr).text,
            "config.json: \"vocab_size\" is nothing, but must be an integer of 1 to 16777216");
  EXPECT_EQ(refusal(llama31_8b(), "tie_word_embeddings", "yes").text,
            "config.json: \"tie_word_embeddings\" is \"yes\", but must be true or false");
}

TEST(RefusedConfigs, NumbersThatDoNotFitTogetherNameTheirKey) {
  EXPECT_EQ(refusal(llama31_8b(), "num_key_value_heads", 5).text,
            "config.json: \"num_key_value_heads\" is 5, but must divide the 32 attention heads");
  EXPECT_EQ(refusal(llama31_8b(), "hidden_size", 4095).text,
            "config.json: \"head_dim\" is nothing, but hidden_size 4095 does not divide into 32 "
            "heads either");
  EXPECT_EQ(refusal(qwen3_235b(), "num_experts_per_tok", 129).text,
            "config.json: \"num_experts_per_tok\" is 129, but there are 128 experts");
  EXPECT_EQ(refusal(deepseek_v3(), "n_group", 7).text,
            "config.json: \"n_group\" is 7, but must divide the 256 experts");
  EXPECT_EQ(refusal(deepseek_v3(), "n_group", 256).text,
            "config.json: \"n_group\" is 256, but groups are judged by their two best experts and "
            "need two");
  EXPECT_EQ(refusal(deepseek_v3(), "topk_group", 9).text,
            "config.json: \"topk_group\" is 9, but there are 8 groups");
  EXPECT_EQ(refusal(deepseek_v3(), "num_experts_per_tok", 200).text,
            "config.json: \"topk_group\" is 4, but 4 groups of 32 experts do not hold the 200 "
            "experts a token takes");
  EXPECT_EQ(refusal(qwen3_coder_next(), "linear_num_value_heads", 17).text,
            "config.json: \"linear_num_value_heads\" is 17, but must be a multiple of the 16 key "
            "heads");
  EXPECT_EQ(refusal(glm47(), "partial_rotary_factor", 0.01).text,
            "config.json: \"partial_rotary_factor\" is 0.01, but of 128 numbers a head it leaves 1 "
            "to rotate, which is not a positive even number");
}

TEST(RefusedConfigs, ListsMustFitTheModel) {
  EXPECT_EQ(refusal(qwen3_coder_next(), "layer_types", {"full_attention"}).text,
            "config.json: \"layer_types\" is a list, but must be a list of 48 names");
  EXPECT_EQ(refusal(qwen3_8b(), "layer_types", std::vector<std::string>(36, "mamba")).text,
            "config.json: \"layer_types\" holds \"mamba\", but this architecture only has "
            "full_attention");
  EXPECT_EQ(refusal(qwen3_235b(), "mlp_only_layers", "all").text,
            "config.json: \"mlp_only_layers\" is \"all\", but must be a list of layers");
  EXPECT_EQ(refusal(kimi_k2(), "moe_layer_freq", {1, 1}).text,
            "config.json: \"moe_layer_freq\" is a list, but must hold a 0 or a 1 for each layer");
  EXPECT_EQ(refusal(glm47(), "eos_token_id", {5, -1}).text,
            "config.json: \"eos_token_id\" is a list, but must be a token id of 0 to 2147483647 or "
            "a list of such ids");
}

TEST(RefusedConfigs, WhatIsNotRunIsRefusedByName) {
  const Refusal gelu = refusal(llama31_8b(), "hidden_act", "gelu");
  EXPECT_EQ(gelu.code, ErrorCode::Unsupported);
  EXPECT_EQ(gelu.text, "config.json: \"hidden_act\" is \"gelu\", but only silu is run");
  EXPECT_EQ(refusal(llama31_8b(), "partial_rotary_factor", 0.5).text,
            "config.json: \"partial_rotary_factor\" is 0.5, but this architecture rotates whole "
            "heads: it must be 1");
  EXPECT_EQ(refusal(qwen3_8b(), "mlp_bias", true).text,
            "config.json: \"mlp_bias\" is true, but this architecture has no biases there");
  EXPECT_EQ(refusal(deepseek_v3(), "scoring_func", "softmax").code, ErrorCode::Unsupported);
  EXPECT_EQ(refusal(deepseek_v2(), "topk_method", "noaux_tc").code, ErrorCode::Unsupported);
  EXPECT_EQ(refusal(deepseek_v2(), "norm_topk_prob", true).code, ErrorCode::Unsupported);
  EXPECT_EQ(refusal(qwen3_8b(), "rope_scaling", Json{{"type", "longrope"}, {"factor", 4}}).text,
            "config.json: rope_scaling: \"type\" is \"longrope\", but of rotary scalings only "
            "default, linear, dynamic, yarn and llama3 are known");
  Json window = qwen3_235b();
  window["use_sliding_window"] = true;
  EXPECT_EQ(refusal(window, "sliding_window", 4096).text,
            "config.json: \"sliding_window\" is 4096, but windows shorter than the context of "
            "40960 tokens are not run");
}

TEST(RefusedConfigs, QuantizationsThatAreNotReadAreRefusedByName) {
  EXPECT_EQ(refusal(deepseek_v3(), "quantization_config", Json{{"quant_method", "gptq"}}).text,
            "config.json: quantization_config: \"quant_method\" is \"gptq\", but of quantized "
            "checkpoints only compressed-tensors is read; use the model's BF16 files");
  const auto refused = [](const std::function<void(Json&)>& change) {
    Json config = kimi_k25();
    change(config["text_config"]["quantization_config"]["config_groups"]["group_0"]);
    return refusal(config).code == ErrorCode::Unsupported;
  };
  EXPECT_TRUE(refused([](Json& group) { group["weights"]["num_bits"] = 8; }));
  EXPECT_TRUE(refused([](Json& group) { group["weights"]["group_size"] = 16; }));
  EXPECT_TRUE(refused([](Json& group) { group["weights"]["symmetric"] = false; }));
  EXPECT_TRUE(refused([](Json& group) { group["weights"]["actorder"] = "group"; }));
  EXPECT_TRUE(refused([](Json& group) { group["weights"]["type"] = "float"; }));
  EXPECT_TRUE(refused([](Json& group) { group["input_activations"] = Json{{"num_bits", 8}}; }));
  Json dense = qwen3_8b();
  dense["quantization_config"] = kimi_k25()["text_config"]["quantization_config"];
  EXPECT_EQ(refusal(dense).code, ErrorCode::Unsupported);
}

TEST(RefusedConfigs, AWrapperNeedsATextItKnows) {
  EXPECT_EQ(refusal(kimi_k25(), "text_config", nullptr).text,
            "config.json: \"text_config\" is nothing, but must be an object");
  Json config = kimi_k25();
  config["text_config"]["model_type"] = "llama";
  EXPECT_EQ(refusal(config).text,
            "config.json: text_config: \"model_type\" is \"llama\", but only kimi_k2 and "
            "deepseek_v3 are known inside");
  config = kimi_k25();
  config["text_config"]["kv_lora_rank"] = -5;
  EXPECT_EQ(refusal(config).text,
            "config.json: text_config: \"kv_lora_rank\" is -5, but must be an integer of 1 to "
            "4194304");
}

// Each key of each published file in turn is taken away and replaced by values of every type: the
// parser returns or throws an Error, and nothing else.
TEST(RefusedConfigs, NoValueOfAnyKeyEscapesAsAnythingButAnError) {
  const std::vector<Json> values = {nullptr,
                                    true,
                                    0,
                                    -1,
                                    1,
                                    3,
                                    1e300,
                                    0.5,
                                    "x",
                                    "",
                                    Json::array(),
                                    {1, "a"},
                                    {{"type", "yarn"}},
                                    INT64_MIN,
                                    UINT64_MAX,
                                    {{"a", {1}}}};
  std::function<void(const Json&, Json&)> visit = [&](const Json& whole, Json& part) {
    for (auto& [key, value] : part.items()) {
      if (value.is_object()) visit(whole, value);
      const Json kept = value;
      for (const Json& other : values) {
        value = other;
        const Refusal result = refusal(whole);
        EXPECT_TRUE(result.code != ErrorCode::Internal || result.text == "not refused")
            << key << " = " << other << ": " << result.text;
      }
      value = kept;
    }
  };
  for (Json config : published_configs()) visit(config, config);
}

}  // namespace
}  // namespace krasis
