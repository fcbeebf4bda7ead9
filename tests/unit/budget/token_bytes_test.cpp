#include "budget/token_bytes.h"

#include <gtest/gtest.h>

#include "unit/budget/specs.h"

namespace krasis {
namespace {

TEST(TokenBytes, CountTheActiveParametersOfA235b) {
  // 21.6e9 active weights without the embedding: head 0.62, attention 94 x 71.3 M, experts 94 x 8 x
  // 18.9 M, routers 94 x 0.5 M; two bytes each.
  const double expected = 2 * (4096.0 * 151936 + 94 * (4096.0 * (2 * 8192 + 2 * 512) +
                                                       8 * 3 * 4096.0 * 1536 + 4096.0 * 128));
  EXPECT_DOUBLE_EQ(static_cast<double>(decode_weight_bytes(test::moe_235b(), {})), expected);
}

TEST(TokenBytes, Int4ExpertsTakeALittleOverAQuarter) {
  WeightBytes weights;
  weights.expert = 0.5 + 2.0 / 128;
  const double saved = static_cast<double>(decode_weight_bytes(test::moe_235b(), {}) -
                                           decode_weight_bytes(test::moe_235b(), weights));
  EXPECT_NEAR(saved, 94.0 * 8 * 3 * 4096 * 1536 * (2 - 0.515625), 1.0);
}

TEST(TokenBytes, AGatedQueryProjectionIsTwiceAsWide) {
  ModelSpec gated = test::moe_235b();
  for (LayerSpec& layer : gated.layers)
    std::get<GroupedQueryAttention>(layer.mixer).output_gate = true;
  EXPECT_EQ(decode_weight_bytes(gated, {}) - decode_weight_bytes(test::moe_235b(), {}),
            std::uint64_t{94} * 2 * 4096 * 8192);
}

}  // namespace
}  // namespace krasis
