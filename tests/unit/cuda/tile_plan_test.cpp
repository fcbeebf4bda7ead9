#include "cuda/tile_plan.h"

#include <gtest/gtest.h>

namespace krasis::cuda {
namespace {

constexpr int kH100Multiprocessors = 132;

std::int64_t turns(std::int64_t tokens, int row_blocks, int size) {
  return ((tokens + size - 1) / size * row_blocks + kH100Multiprocessors - 1) /
         kH100Multiprocessors;
}

TEST(TilePlan, FillsTheLastTurnOfADenseProduct) {
  // 256 tiles of 128 tokens are two turns, and so are 208 of 160, which take longer.
  EXPECT_EQ(dense_block_tokens(8192, 4, kH100Multiprocessors, 90), 128);
  // 132 tiles of 160 are one.
  EXPECT_EQ(dense_block_tokens(160 * 33, 4, kH100Multiprocessors, 90), 160);
  for (std::int64_t tokens = 65; tokens < 40000; tokens += 777) {
    const int size = dense_block_tokens(tokens, 8, kH100Multiprocessors, 90);
    EXPECT_LE(turns(tokens, 8, size) * size,
              turns(tokens, 8, kMostBlockTokens) * kMostBlockTokens + kMostBlockTokens)
        << tokens;
  }
}

TEST(TilePlan, StaysWithinTheMemoryThatIsCounted) {
  for (const int capability : {80, 86, 89, 90, 120}) {
    const BlockSizes sizes = block_sizes(capability);
    EXPECT_GE(sizes.most, kLeastBlockTokens);
    EXPECT_LE(sizes.most, kMostBlockTokens);
    EXPECT_EQ(sizes.most % sizes.step, 0);
    EXPECT_LE(dense_block_tokens(100000, 3, kH100Multiprocessors, capability), sizes.most);
  }
}

}  // namespace
}  // namespace krasis::cuda
