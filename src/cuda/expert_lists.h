// Which tokens go to which expert, sorted on the device without the host waiting for it. A pair
// p = t * top_k + j is token t's j-th expert.
#pragma once

#include "cuda/launch.h"
#include "cuda/tile_gemm.h"

namespace krasis::cuda {

struct ExpertLists {
  int* order = nullptr;          // [pairs that have one] by expert, within an expert ascending
  TokenBlock* blocks = nullptr;  // the experts' positions, in blocks
  int* block_count = nullptr;    // [1]
};

// An upper bound of *block_count.
int max_blocks(int pairs, int experts);

// ids: [pairs], in [-1, experts); pairs with -1 are in no list. Takes its memory from
// launch.scratch.
ExpertLists expert_lists(const int* ids, int pairs, int experts, const Launch& launch);

// The bytes that takes, with alignment.
std::size_t expert_lists_bytes(int pairs, int experts);

}  // namespace krasis::cuda
