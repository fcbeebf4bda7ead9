#include "cuda/tile_plan.h"

namespace krasis::cuda {
namespace {

// What an output tile takes beside the products of its tokens, in tokens: dequantizing that the
// tensor cores do not hide, and writing. An estimate.
constexpr std::int64_t kTileOverhead = 32;

}  // namespace

// Where a group of warps shares an instruction, 160 tokens' sums fit its registers, and widths
// between are as good; elsewhere a warp has 128 at the most, and less is in proportion dearer.
BlockSizes block_sizes(int capability) {
  if (capability == 90) return {.most = kMostBlockTokens, .step = 32};
  return {.most = kLeastBlockTokens, .step = kLeastBlockTokens};
}

int dense_block_tokens(std::int64_t tokens, int row_blocks, int multiprocessors, int capability) {
  const BlockSizes sizes = block_sizes(capability);
  int best = sizes.most;
  std::int64_t least = 0;
  for (int size = sizes.most; size >= kLeastBlockTokens; size -= sizes.step) {
    const std::int64_t tiles = (tokens + size - 1) / size * row_blocks;
    const std::int64_t turns = (tiles + multiprocessors - 1) / multiprocessors;
    const std::int64_t cost = turns * (size + kTileOverhead);
    if (least != 0 && cost >= least) continue;
    least = cost;
    best = size;
  }
  return best;
}

}  // namespace krasis::cuda
