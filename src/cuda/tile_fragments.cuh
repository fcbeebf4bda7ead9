// From the bytes of a tile to fragments of tensor-core instructions, in registers alone. A lane's
// bytes of a k-tile are, for i = 0..3, its fragment of the 16x16 block of rows 16i.. of the strip
// (quant/expert_tiles.h), so that nothing has to move between lanes.
#pragma once

#include "cuda/tensor_core.cuh"

namespace krasis::cuda {

__device__ inline __nv_bfloat162 as_bf16x2(unsigned bits) {
  return *reinterpret_cast<const __nv_bfloat162*>(&bits);
}
__device__ inline unsigned as_bits(__nv_bfloat162 value) {
  return *reinterpret_cast<const unsigned*>(&value);
}

// q as BF16, exactly. A stored nibble u = q + 8 in the lowest bits of 128's mantissa is 128 + u; 4
// bits: subtract 136. 8 bits, u = q + 128: the lower seven bits give 128 + u % 128, and the eighth,
// which is where BF16 keeps its exponent's lowest bit, chooses between taking 128 and 256 away.
template <int Bits>
struct TileWord;

template <>
struct TileWord<4> {
  static constexpr int kWords = 1;  // of a 16x16 block and lane
  // q of one 16x16 block, in the order of multiply_add's a.
  __device__ static void values(const unsigned* word, __nv_bfloat162 (&q)[4]) {
    const __nv_bfloat162 offset = as_bf16x2(0x43084308u);
#pragma unroll
    for (int n = 0; n < 4; ++n)
      q[n] = __hsub2(as_bf16x2(((word[0] >> (4 * n)) & 0x000F000Fu) | 0x43004300u), offset);
  }
};

template <>
struct TileWord<8> {
  static constexpr int kWords = 2;
  __device__ static void values(const unsigned* word, __nv_bfloat162 (&q)[4]) {
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      const unsigned u = word[n % 2] >> (n / 2 * 8);
      q[n] = __hsub2(as_bf16x2((u & 0x007F007Fu) | 0x43004300u),
                     as_bf16x2((u & 0x00800080u) ^ 0x43804380u));
    }
  }
};

// The same for `Blocks` neighbouring blocks of a strip.
template <int Bits, int Blocks>
struct TileLane {
  unsigned words[Blocks * TileWord<Bits>::kWords];

  __device__ const unsigned* block(int i) const { return words + i * TileWord<Bits>::kWords; }
  __device__ void load_shared(unsigned address) {
    constexpr int kCount = Blocks * TileWord<Bits>::kWords;
    if constexpr (kCount % 4 == 0) {
#pragma unroll
      for (int i = 0; i < kCount; i += 4) {
        const uint4 v = load_shared16(address + 4 * i);
        words[i] = v.x, words[i + 1] = v.y, words[i + 2] = v.z, words[i + 3] = v.w;
      }
    } else {
      asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];\n"
                   : "=r"(words[0]), "=r"(words[1])
                   : "r"(address));
    }
  }
};

// The scales of a lane's rows, each twice in a register.
template <int Blocks>
struct LaneScales {
  __nv_bfloat162 rows[Blocks][2];

  // `address` of the strip and group; scales lie as [a][A or B][i].
  __device__ void load(unsigned address, int first_block, int lane) {
    const uint4 v = load_shared16(address + lane / 4 * 16);
    const unsigned words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int i = 0; i < Blocks; ++i) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const unsigned low = words[half * 2];
        const unsigned high = words[half * 2 + 1];
        const unsigned word = Blocks == 4 ? (i < 2 ? low : high) : (first_block == 0 ? low : high);
        rows[i][half] = as_bf16x2(__byte_perm(word, word, i % 2 == 0 ? 0x1010 : 0x3232));
      }
    }
  }
};

}  // namespace krasis::cuda
