// Rotary position embedding (Su et al. 2021, https://arxiv.org/abs/2104.09864).
#pragma once

#include <span>

#include "tensor/tensor.h"

namespace krasis {

// cosine[t, i] = scale * cos(positions[t] * frequencies[i]), sine likewise. The angle is an F32
// product, as in the models' own code. Scaled variants (YaRN and others) come in through
// frequencies and scale, which arch/ computes.
struct RotaryTable {
  std::span<const std::int32_t> positions;  // [tokens]
  std::span<const float> frequencies;       // [rotary_dim / 2]
  float scale = 1;
  MutableRows cosine, sine;  // [tokens, rotary_dim / 2]
};

// out = x with its pairs rotated. With half = rotary_dim / 2 and (c, s) of the row's token:
//   halves:      a = x[i], b = x[i + half];  interleaved: a = x[2i], b = x[2i + 1]
//   a' = a c - b s,  b' = b c + a s, written to the places of a and b.
// x holds exactly the rotated columns; row r belongs to token r / heads. out may be x.
struct Rotary {
  Rows x;             // [tokens * heads, rotary_dim]
  Rows cosine, sine;  // [tokens, rotary_dim / 2]
  std::int64_t heads = 1;
  bool interleaved = false;
  MutableRows out;  // [tokens * heads, rotary_dim]
};

void check(const RotaryTable& op);
void check_shapes(const RotaryTable& op);  // all but what positions holds
void check(const Rotary& op);

// Throws Error(InvalidArgument) if one is negative.
void check_positions(std::span<const std::int32_t> positions);

}  // namespace krasis
