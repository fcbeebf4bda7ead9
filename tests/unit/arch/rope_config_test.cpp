// Frequencies against the published formulae, evaluated in double precision by another program.
#include "arch/rope_config.h"

#include <cmath>
#include <gtest/gtest.h>

#include "published_configs.h"

namespace krasis {
namespace {

using namespace test;

// Frequencies pass through four roundings to F32, of 2^-24 each.
constexpr double kTolerance = 4e-7;

struct Expected {
  std::size_t pair;
  double frequency;
};

void expect_frequencies(const RotarySpec& rotary, const std::vector<Expected>& expected) {
  for (const auto& [pair, frequency] : expected) {
    ASSERT_LT(pair, rotary.frequencies.size());
    EXPECT_NEAR(rotary.frequencies[pair] / frequency, 1, kTolerance) << "pair " << pair;
  }
}

Json with_rope(Json config, const char* rope_scaling) {
  config["rope_scaling"] = Json::parse(rope_scaling);
  return config;
}

TEST(RopeConfig, PlainFrequenciesFallGeometrically) {
  expect_frequencies(grouped(parse(glm47())).rotary,
                     {{0, 1}, {1, 0.649381632}, {31, 1.53992653e-06}});
  expect_frequencies(grouped(parse(qwen3_coder_next()), 3).rotary,
                     {{1, 0.617528758}, {31, 3.23871556e-07}});
}

TEST(RopeConfig, YarnOfLatentAttention) {
  expect_frequencies(latent(parse(deepseek_v3())).rotary, {{0, 1},
                                                           {10, 0.0562341325},
                                                           {15, 0.00833450895},
                                                           {22, 0.000177827941},
                                                           {31, 3.33380358e-06}});
  // beta_fast = beta_slow: a ramp of one step.
  expect_frequencies(latent(parse(kimi_k2())).rotary, {{0, 1},
                                                       {10, 0.0340072782},
                                                       {19, 0.00162175991},
                                                       {20, 3.61404677e-05},
                                                       {31, 8.76441291e-07}});
}

TEST(RopeConfig, YarnOfGroupedQueryAttentionScalesCosineAndSine) {
  const Json config = with_rope(
      qwen3_8b(),
      R"({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768})");
  const RotarySpec rotary = grouped(parse(config)).rotary;
  expect_frequencies(
      rotary,
      {{0, 1}, {20, 0.0133352143}, {30, 0.00106436098}, {40, 4.44569853e-05}, {63, 3.1023444e-07}});
  EXPECT_FLOAT_EQ(rotary.scale, 1.138629436F);  // 0.1 ln 4 + 1
  EXPECT_FLOAT_EQ(grouped(parse(config)).scale, static_cast<float>(1 / std::sqrt(128.0)));
}

TEST(RopeConfig, YarnOfAPartialRotary) {
  const Json config = with_rope(
      glm47(), R"({"type": "yarn", "factor": 2.0, "original_max_position_embeddings": 131072})");
  expect_frequencies(grouped(parse(config)).rotary, {{0, 1},
                                                     {10, 0.0133352143},
                                                     {15, 0.00153992653},
                                                     {20, 0.000128431291},
                                                     {31, 7.69963263e-07}});
}

TEST(RopeConfig, YarnTakesItsOptionalKeys) {
  const Json config =
      with_rope(qwen3_8b(),
                R"({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768,
          "truncate": false, "attention_factor": 1.25, "beta_fast": 0, "beta_slow": null})");
  const RotarySpec rotary = grouped(parse(config)).rotary;
  expect_frequencies(rotary, {{20, 0.0133352143}, {30, 0.00107923774}, {40, 4.44569853e-05}});
  EXPECT_FLOAT_EQ(rotary.scale, 1.25F);
}

TEST(RopeConfig, YarnWithoutAFactorTakesTheRatioOfTheLengths) {
  Json config = with_rope(qwen3_8b(), R"({"rope_type": "yarn", "factor": null,
                                          "original_max_position_embeddings": 32768})");
  config["max_position_embeddings"] = 131072;
  expect_frequencies(grouped(parse(config)).rotary, {{30, 0.00106436098}, {63, 3.1023444e-07}});
}

TEST(RopeConfig, YarnsTwoMscalesDivideEachOther) {
  Json config = deepseek_v2_lite();
  config["rope_scaling"]["mscale"] = 1.0;
  const LatentAttention attention = latent(parse(config));
  const double log = 0.1 * std::log(40.0);
  EXPECT_FLOAT_EQ(attention.rotary.scale, static_cast<float>((log + 1) / (0.707 * log + 1)));
  config["rope_scaling"].erase("mscale_all_dim");
  EXPECT_FLOAT_EQ(latent(parse(config)).rotary.scale, static_cast<float>(log + 1));
  EXPECT_FLOAT_EQ(latent(parse(config)).scale, static_cast<float>(1 / std::sqrt(192.0)));
}

TEST(RopeConfig, Llama3KeepsFastPairsStretchesSlowOnesAndBlendsBetween) {
  expect_frequencies(grouped(parse(llama31_8b())).rotary, {{0, 1},
                                                           {20, 0.0165604401},
                                                           {28, 0.00321144599},
                                                           {29, 0.00216657076},
                                                           {32, 0.000524846161},
                                                           {35, 9.55621235e-05},
                                                           {40, 3.4281022e-05},
                                                           {63, 3.06892599e-07}});
}

TEST(RopeConfig, LinearDividesAndDynamicLeavesFrequencies) {
  const Json plain = qwen3_8b();
  const auto base = grouped(parse(plain)).rotary.frequencies;
  const auto linear =
      grouped(parse(with_rope(plain, R"({"type": "linear", "factor": 4})"))).rotary.frequencies;
  const auto dynamic =
      grouped(parse(with_rope(plain, R"({"type": "dynamic", "factor": 4})"))).rotary.frequencies;
  EXPECT_EQ(dynamic, base);
  for (std::size_t i = 0; i < base.size(); ++i) EXPECT_FLOAT_EQ(linear[i], base[i] / 4);
}

TEST(RopeConfig, NewerFilesKeepEverythingInRopeParameters) {
  Json config = llama31_8b();
  const auto expected = grouped(parse(config)).rotary.frequencies;
  Json rope = config["rope_scaling"];
  rope["rope_theta"] = config["rope_theta"];
  config.erase("rope_scaling");
  config.erase("rope_theta");
  config["rope_parameters"] = rope;
  EXPECT_EQ(grouped(parse(config)).rotary.frequencies, expected);
  config["rope_theta"] = 1234.0;  // the inner one counts
  EXPECT_EQ(grouped(parse(config)).rotary.frequencies, expected);
}

TEST(RopeConfig, NewerFilesMayNestByLayerTypeAndHoldThePartialFactor) {
  Json config = qwen3_coder_next();
  const auto expected = grouped(parse(config), 3).rotary.frequencies;
  for (const char* key : {"rope_scaling", "rope_theta", "partial_rotary_factor"}) config.erase(key);
  config["rope_parameters"] = Json::parse(
      R"({"full_attention": {"rope_type": "default", "rope_theta": 5000000,
          "partial_rotary_factor": 0.25}, "linear_attention": null})");
  EXPECT_EQ(grouped(parse(config), 3).rotary.frequencies, expected);
}

TEST(RopeConfig, AMissingThetaIsTenThousand) {
  Json config = qwen3_8b();
  config.erase("rope_theta");
  expect_frequencies(grouped(parse(config)).rotary, {{1, std::pow(1e4, -2.0 / 128)}});
}

TEST(RopeConfig, ATopLevelOriginalLengthCounts) {
  Json config = with_rope(qwen3_8b(), R"({"rope_type": "yarn", "factor": 4.0})");
  config["original_max_position_embeddings"] = 32768;
  expect_frequencies(grouped(parse(config)).rotary, {{30, 0.00106436098}});
}

}  // namespace
}  // namespace krasis
