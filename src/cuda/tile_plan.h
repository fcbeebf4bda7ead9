// How the tokens of a tile product (tile_gemm.h) are cut into blocks; host arithmetic only.
#pragma once

#include <cstdint>

namespace krasis::cuda {

// n pairs of an expert become ceil(n / most) blocks, as even as whole `step`s allow, so that no
// weights are read and dequantized for a few tokens that are left over.
struct BlockSizes {
  int most = 0;  // a multiple of step
  int step = 0;
};

// The larger of the two below: what a product's memory is counted with is the smaller.
constexpr int kMostBlockTokens = 160;
constexpr int kLeastBlockTokens = 128;

// `capability` as in launch.h.
BlockSizes block_sizes(int capability);

// Tokens of a block when all tokens go to one matrix, whose rows are `row_blocks` blocks: an output
// tile a multiprocessor at a time, so that the last turn should be as full as the others.
int dense_block_tokens(std::int64_t tokens, int row_blocks, int multiprocessors, int capability);

}  // namespace krasis::cuda
