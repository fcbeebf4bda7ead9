#include "budget/step_bytes.h"

#include <gtest/gtest.h>

#include "unit/budget/specs.h"

namespace krasis {
namespace {

TEST(StepBytes, AddUpForADeltaNet) {
  // Of 1024 tokens: ids, positions and the residual stream; a part's normed rows and change, the
  // gates 64, z 4096, the convolution's input and output 8192, the result 4096; cosine and sine 32.
  // One row of logits.
  const std::uint64_t step = 1024 * 4 * (1 + 1 + 2048) + 151936 * 4;
  const std::uint64_t constants = 256 * 8;
  const std::uint64_t part = 256 * 4 * (2 * 2048 + 64 + 4096 + 2 * 8192 + 4096 + 2 * 32);
  EXPECT_EQ(
      workspace_bytes(test::next_80b(), {.tokens = 1024, .part_tokens = 256, .logit_rows = 1}),
      step + part + constants);
}

TEST(StepBytes, AddUpForLatentAttention) {
  // Key 576, query 16 x 192, absorbed 16 x 576, mixed 16 x 512, values 16 x 128.
  const std::uint64_t step = 256 * 4 * (1 + 1 + 2048) + 102400 * 4;
  const std::uint64_t constants = 512 * 8;
  const std::uint64_t part = 256 * 4 * (2 * 2048 + 576 + 16 * (192 + 576 + 512 + 128) + 2 * 32);
  EXPECT_EQ(workspace_bytes(test::lite_16b(), {.tokens = 256, .part_tokens = 512, .logit_rows = 1}),
            step + part + constants);
}

TEST(StepBytes, CountTheHeadsRowsWhereAllLogitsAreWanted) {
  ModelSpec spec = test::moe_235b();
  spec.layers.resize(1);
  const std::uint64_t few =
      workspace_bytes(spec, {.tokens = 512, .part_tokens = 64, .logit_rows = 0});
  const std::uint64_t all =
      workspace_bytes(spec, {.tokens = 512, .part_tokens = 64, .logit_rows = 512});
  EXPECT_GT(all - few, 512U * 151936 * 4);
}

}  // namespace
}  // namespace krasis
