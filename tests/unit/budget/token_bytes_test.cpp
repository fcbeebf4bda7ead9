#include "budget/token_bytes.h"

#include <gtest/gtest.h>

namespace krasis {
namespace {

// Qwen3-30B-A3B: 48 layers, 128 experts top-8 of 768, hidden 2048, 32 heads over 4 of 128.
ModelSpec thirty_b() {
  ModelSpec spec;
  spec.hidden = 2048;
  spec.vocab = 151936;
  GroupedQueryAttention mixer;
  mixer.heads = 32;
  mixer.kv_heads = 4;
  mixer.head_dim = 128;
  SparseFfn ffn;
  ffn.intermediate = 768;
  ffn.routing.experts = 128;
  ffn.routing.top_k = 8;
  spec.layers.assign(48, {mixer, ffn});
  return spec;
}

TEST(TokenBytes, CountTheActiveParametersOfA30b) {
  // 3.04e9 active weights without the embedding: head 0.311, attention 48 x 18.87 M,
  // experts 48 x 8 x 4.719 M, routers 48 x 0.262 M; two bytes each.
  const double expected = 2 * (2048.0 * 151936 + 48 * (2048.0 * (2 * 4096 + 2 * 512) +
                                                       8 * 3 * 2048.0 * 768 + 2048.0 * 128));
  EXPECT_DOUBLE_EQ(static_cast<double>(decode_weight_bytes(thirty_b(), {})), expected);
}

TEST(TokenBytes, Int4ExpertsTakeALittleOverAQuarter) {
  WeightBytes weights;
  weights.expert = 0.5 + 2.0 / 128;
  const double saved = static_cast<double>(decode_weight_bytes(thirty_b(), {}) -
                                           decode_weight_bytes(thirty_b(), weights));
  EXPECT_NEAR(saved, 48.0 * 8 * 3 * 2048 * 768 * (2 - 0.515625), 1.0);
}

TEST(TokenBytes, AGatedQueryProjectionIsTwiceAsWide) {
  ModelSpec gated = thirty_b();
  for (LayerSpec& layer : gated.layers)
    std::get<GroupedQueryAttention>(layer.mixer).output_gate = true;
  EXPECT_EQ(decode_weight_bytes(gated, {}) - decode_weight_bytes(thirty_b(), {}),
            std::uint64_t{48} * 2 * 2048 * 4096);
}

}  // namespace
}  // namespace krasis
