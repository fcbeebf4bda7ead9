// What the two kernels of the chunked delta rule hand over. With G the inclusive cumulative sum of
// log_decay in a chunk, gamma = exp(G), S0 the state before it and q, k normalised:
//   L[i, j] = beta_i exp(G_i - G_j) k_i . k_j (j < i),   T = (I + L)^-1
//   U = T diag(beta) (V - diag(gamma) K S0)
//   O = diag(gamma) Q S0 + [exp(G_i - G_j) q_i . k_j, j <= i] U
//   S = gamma_end S0 + sum_i exp(G_end - G_i) k_i U_i^T
// (Yang, Kautz, Hatamizadeh 2024, section 3.3, with T applied to the difference.)
#pragma once

#include <cstdint>

#include "cuda/delta_net_chunk.h"
#include "cuda/delta_net_fragments.cuh"
#include "cuda/segment_chunk.cuh"

namespace krasis::cuda {

constexpr int kChunkTokens = 64;
constexpr int kKeyNumbers = kChunkTokens * kKeyDim;
constexpr int kPairNumbers = kChunkTokens * kChunkTokens;

// For each chunk of a wave. F16 matrices in blocks; tokens that a chunk lacks are zero. F16 rather
// than BF16: all numbers are at most 1 (2 for beta's sake), and it rounds 8 times finer.
struct ChunkMatrices {
  __half* keys;     // [chunks, key_heads, tokens x key_dim], normalised
  __half* queries;  // [chunks, key_heads, tokens x key_dim], normalised, not scaled
  __half* solve;    // [chunks, value_heads, tokens x tokens], T diag(beta); the 16 x 16 tiles above
                    // the diagonal are not written
  __half* mix;      // [chunks, value_heads, tokens x tokens], exp(G_i - G_j) q_i . k_j, likewise
  float* decay;     // [chunks, value_heads, tokens], G
};

struct DeltaChunks : DeltaArguments {
  int first_chunk = 0, end_chunk = 0;  // of this wave, numbers as in segment_chunk.cuh
  ChunkMatrices matrices = {};
};

// Fills work.matrices.
void prepare_chunks(const DeltaChunks& work, cudaStream_t stream);

// Reads work.matrices, writes out and state.
void scan_chunks(const DeltaChunks& work, const Launch& launch);

}  // namespace krasis::cuda
