// E4M3 numbers (base/float8.h) as BF16, which holds each of them exactly. Integer arithmetic and
// one product, on every architecture.
#pragma once

#include <cstdint>
#include <cuda_bf16.h>

namespace krasis::cuda {

// Two E4M3 in the upper bytes of a pair's halves. Exponent and fraction, put
// where BF16 has them, are a number 2^120 times smaller, which is subnormal if the E4M3 is; NaN
// comes out as 480, which is no E4M3. Only the upper bytes are looked at; `scale` is 2^120 or, to
// get NaN, that.
constexpr unsigned kNarrowScale = 0x7B807B80u;
__device__ inline unsigned widen_pair(unsigned halves, unsigned scale = kNarrowScale) {
  const unsigned bits = (halves & 0x80008000u) | ((halves >> 4) & 0x07F007F0u);
  const __nv_bfloat162 pair = __hmul2(reinterpret_cast<const __nv_bfloat162&>(bits),
                                      reinterpret_cast<const __nv_bfloat162&>(scale));
  return reinterpret_cast<const unsigned&>(pair);
}

// Bit 7 of a byte is set if its E4M3 is NaN; other bits mean nothing.
__device__ inline unsigned narrow_nan(unsigned four) {
  return (four & 0x7F7F7F7Fu) + 0x01010101u;
}

// 480 to NaN.
__device__ inline unsigned restore_nan(unsigned pair) {
  constexpr unsigned k480 = 0x43F0;
  if ((pair & 0x7FFFu) == k480) pair |= 0x7FFFu;
  if ((pair >> 16 & 0x7FFFu) == k480) pair |= 0x7FFF0000u;
  return pair;
}

// 16 E4M3 as twice 8 BF16.
struct WidenedPiece {
  uint4 low, high;
};
__device__ inline WidenedPiece widen(const uint4& piece) {
  const unsigned words[4] = {piece.x, piece.y, piece.z, piece.w};
  unsigned pairs[8];
  unsigned nan = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    pairs[2 * i] = widen_pair(__byte_perm(words[i], 0, 0x1404));
    pairs[2 * i + 1] = widen_pair(__byte_perm(words[i], 0, 0x3424));
    nan |= narrow_nan(words[i]);
  }
  if ((nan & 0x80808080u) != 0) {
#pragma unroll
    for (unsigned& pair : pairs) pair = restore_nan(pair);
  }
  return {{pairs[0], pairs[1], pairs[2], pairs[3]}, {pairs[4], pairs[5], pairs[6], pairs[7]}};
}

}  // namespace krasis::cuda
