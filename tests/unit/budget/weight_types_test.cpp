#include "budget/weight_types.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "unit/budget/specs.h"

namespace krasis {
namespace {

constexpr WeightTypes kStored = {.shared_expert_int8 = false,
                                 .dense_mlp_int8 = false,
                                 .lm_head_int8 = false,
                                 .experts = std::nullopt};

TEST(WeightTypes, AddUpTo80B) {
  // Embedding and head 151936 x 2048. A delta net: qkvz 12288 and ba 64 of 2048, output 2048 x
  // 4096, convolution 8192 x 4 and 32 + 32 + 128 floats. Attention: q 8192, k and v 512 of 2048,
  // output 2048 x 4096, two norms of 256. Router 512 x 2048, shared expert 3 x 512 x 2048, its
  // gate.
  const DenseBytes bytes = dense_bytes(test::next_80b(), kStored);
  EXPECT_EQ(bytes.embedding, 151936U * 2048 * 2);
  EXPECT_EQ(bytes.lm_head, 151936U * 2048 * 2);
  EXPECT_EQ(bytes.attention,
            36U * (2 * 2048 * (12288 + 64 + 4096) + 4 * (8192 * 4 + 32 + 32 + 128)) +
                12U * (2 * 2048 * (8192 + 1024 + 4096) + 4 * 2 * 256));
  EXPECT_EQ(bytes.router, 48U * 512 * 2048 * 2);
  EXPECT_EQ(bytes.shared_expert, 48U * 2 * (3 * 512 * 2048 + 2048));
  EXPECT_EQ(bytes.dense_mlp, 0U);
  EXPECT_EQ(bytes.norms, 97U * 2048 * 4);
}

TEST(WeightTypes, CountTilesWithTheirScales) {
  // INT4 in groups of 128: w13 1024 x 2048, w2 2048 x 512; half a byte and 2 / 128 a weight.
  const ExpertBytes experts = expert_bytes(test::next_80b(), {});
  EXPECT_EQ(experts.expert, 3U * 512 * 2048 / 2 + 3U * 512 * 2048 / 128 * 2);
  EXPECT_EQ(experts.layer, 512 * experts.expert);
  EXPECT_EQ(experts.all, 48 * experts.layer);
  EXPECT_EQ(experts.count, 48 * 512);
  EXPECT_EQ(experts.arena % (std::uint64_t{2} << 20), 0U);
  EXPECT_GE(experts.arena, experts.all);
  // INT8 dense: one byte and 2 / 128.
  const DenseBytes dense = dense_bytes(test::next_80b(), {.attention_int8 = true});
  EXPECT_EQ(dense.lm_head, 151936U * 2048 + 151936U * 2048 / 128 * 2);
}

TEST(WeightTypes, CountTheExpertsOfA235B) {
  const ExpertBytes experts = expert_bytes(test::moe_235b(), {});
  EXPECT_EQ(experts.expert, 3U * 1536 * 4096 / 2 + 3U * 1536 * 4096 / 128 * 2);
  EXPECT_EQ(experts.all, std::uint64_t{94} * 128 * experts.expert);
  // 2 bytes of q 8192, k and v 512, output 8192 columns, over 4096, and two norms of 128.
  EXPECT_EQ(dense_bytes(test::moe_235b(), {}).attention,
            std::uint64_t{94} * (2 * 4096 * (8192 + 2 * 512 + 8192) + 4 * 2 * 128));
}

TEST(WeightTypes, CountLatentAttentionInItsAbsorbedForm) {
  // q 16 x 192, kv down 576, up as 16 x 512 x 128 and 16 x 128 x 512, output 2048 x 2048, norm 512.
  const DenseBytes bytes = dense_bytes(test::lite_16b(), kStored);
  EXPECT_EQ(bytes.attention,
            27U * (2 * (2048 * (3072 + 576 + 2048) + 2 * 16 * 512 * 128) + 4 * 512));
  EXPECT_EQ(bytes.dense_mlp, 2U * 3 * 2048 * 10944);
  // 1408 is 11 x 128, an expert's rows are padded to strips of 64: none here.
  const ExpertBytes experts = expert_bytes(test::lite_16b(), {});
  EXPECT_EQ(experts.layers, 26);
  EXPECT_EQ(experts.expert, 3U * 1408 * 2048 / 2 + 3U * 1408 * 2048 / 128 * 2);
}

TEST(WeightTypes, CountATiedHeadOnceUnlessItIsQuantized) {
  ModelSpec spec = test::next_80b();
  spec.tied_head = true;
  EXPECT_EQ(dense_bytes(spec, kStored).lm_head, 0U);
  EXPECT_GT(dense_bytes(spec, {}).lm_head, 0U);
}

TEST(WeightTypes, RefuseWhatNoMachineHolds) {
  ModelSpec spec = test::next_80b();
  spec.hidden = 1 << 22;
  SparseFfn ffn;
  ffn.intermediate = 1 << 22;
  ffn.routing.experts = 1 << 16;
  ffn.routing.top_k = 8;
  for (LayerSpec& layer : spec.layers) layer.ffn = ffn;
  EXPECT_THROW(dense_bytes(spec, {}), Error);
  EXPECT_THROW(expert_bytes(spec, {}), Error);
}

}  // namespace
}  // namespace krasis
