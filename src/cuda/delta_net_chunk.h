// Arguments as kernels take them, and the forms of delta_net that need key_dim 128, value_dim in
// 32s and rows aligned to 16 bytes.
#pragma once

#include <cstdint>

#include "cuda/launch.h"

namespace krasis::cuda {

// The convolution that makes q or k, of their first channel.
struct KeyTaps {
  const float* weight = nullptr;  // [key_heads * key_dim, 4]; nullptr: there is none
  const float* before = nullptr;  // [slots, 3, channels], inputs before the segments
  std::int64_t channels = 0;      // of the whole convolution
};

// DeltaNet's pointers and sizes, the step's segments.
struct DeltaArguments {
  const float* q = nullptr;          // [tokens, key_heads * key_dim]
  const float* k = nullptr;          // [tokens, key_heads * key_dim]
  const float* v = nullptr;          // [tokens, value_heads * value_dim]
  const float* log_decay = nullptr;  // [tokens, value_heads]
  const float* beta = nullptr;       // [tokens, value_heads]
  float* out = nullptr;              // [tokens, value_heads * value_dim]
  std::int64_t q_stride = 0, k_stride = 0, v_stride = 0;
  std::int64_t log_decay_stride = 0, beta_stride = 0, out_stride = 0;
  int key_heads = 0, value_heads = 0, key_dim = 0, value_dim = 0;
  float* state = nullptr;  // [slots, value_heads, key_dim, value_dim]
  // q and k are the convolution's inputs: for delta_net_chunks() alone.
  KeyTaps q_taps{}, k_taps{};
  StepTables tables;
};

constexpr int kKeyDim = 128;
constexpr int kDeltaColumns = 32;  // of V, a block's
constexpr int kStepRows = 8;       // segments up to this long go token by token

// Chunks of 64 tokens at a time, 1 MB each for 16 key heads and 32 value heads. Fewer would stay in
// the L2 cache, but starting and ending more often costs more than that gains: 402 us for 32, 361
// for 128 (8,192 tokens, H100).
constexpr int kWaveChunks = 128;

// Segments of more than kStepRows rows; the others are left alone.
void delta_net_chunks(const DeltaArguments& op, const Launch& launch);

// Segments of up to kStepRows rows; the others are left alone.
void delta_net_steps(const DeltaArguments& op, const Launch& launch);

}  // namespace krasis::cuda
