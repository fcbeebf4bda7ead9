// What the AVX-512 and AMX kernels share: a strip's group unpacked to bytes, and the end of a
// strip. Only for files that are compiled for AVX-512; see tile_kernels.h for what those include.
//
// Unpacked weights: [step][block 0..3][16 rows][4 columns], a step being four columns of the
// activations' order. Rows of a block: 4 bits: block 2 q + half, rows [a % 4][i] of the lines
// a = 4 q ..; 8 bits: block a / 2, rows [a % 2][i][half].
#pragma once

#include <immintrin.h>

#include "cpu/tile_kernels.h"

namespace krasis::cpu {
namespace {

inline constexpr std::int64_t kStrip = 64;
inline constexpr int kTile = 16;
inline constexpr int kBlocks = 4;             // of 16 rows in a strip
inline constexpr std::int64_t kAhead = 4096;  // bytes

inline __m512i load512(const void* from) {
  return _mm512_loadu_si512(from);
}

// 16 scales as F32.
inline __m512 load_scales(const std::uint16_t* scales) {
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(scales));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}

inline void prefetch_tile(const std::uint8_t* tile, int bits) {
  for (int line = 0; line < 2 * bits; ++line)
    _mm_prefetch(reinterpret_cast<const char*>(tile) + kAhead + line * 64, _MM_HINT_T0);
}

inline void unpack_tile4(const std::uint8_t* tile, std::uint8_t* to) {
  const __m512i nibble = _mm512_set1_epi8(15);
  for (int q = 0; q < 2; ++q, tile += 256) {
    const __m512i l0 = load512(tile);
    const __m512i l1 = load512(tile + 64);
    const __m512i l2 = load512(tile + 128);
    const __m512i l3 = load512(tile + 192);
    const __m512i s0 = _mm512_shuffle_i32x4(l0, l1, 0x44);  // l0.j0 l0.j1 l1.j0 l1.j1
    const __m512i s1 = _mm512_shuffle_i32x4(l2, l3, 0x44);
    const __m512i s2 = _mm512_shuffle_i32x4(l0, l1, 0xee);
    const __m512i s3 = _mm512_shuffle_i32x4(l2, l3, 0xee);
    const __m512i columns[4] = {
        _mm512_shuffle_i32x4(s0, s1, 0x88), _mm512_shuffle_i32x4(s0, s1, 0xdd),
        _mm512_shuffle_i32x4(s2, s3, 0x88), _mm512_shuffle_i32x4(s2, s3, 0xdd)};
    for (int j = 0; j < 4; ++j) {
      std::uint8_t* block = to + (j * kBlocks + 2 * q) * 64;
      _mm512_store_si512(block, _mm512_and_si512(columns[j], nibble));
      _mm512_store_si512(block + 64, _mm512_and_si512(_mm512_srli_epi16(columns[j], 4), nibble));
    }
  }
}

inline void unpack_tile8(const std::uint8_t* tile, std::uint8_t* to) {
  for (int pair = 0; pair < kBlocks; ++pair, tile += 256) {
    for (int j = 0; j < 4; j += 2) {
      const __m512i first = load512(tile + j * 32);
      const __m512i second = load512(tile + 128 + j * 32);
      std::uint8_t* block = to + (j * kBlocks + pair) * 64;
      _mm512_store_si512(block, _mm512_shuffle_i32x4(first, second, 0x44));
      _mm512_store_si512(block + kBlocks * 64, _mm512_shuffle_i32x4(first, second, 0xee));
    }
  }
}

// A group's k-tiles.
template <int kBits>
inline void unpack_group(const std::uint8_t* tile, int group, std::uint8_t* to) {
  for (int k = 0; k < group;
       k += kTile, tile += kStrip * kTile * kBits / 8, to += 4 * kBlocks * 64) {
    prefetch_tile(tile, kBits);
    if (kBits == 4) {
      unpack_tile4(tile, to);
    } else {
      unpack_tile8(tile, to);
    }
  }
}

// Of two vectors that hold the lines of two pairs, rows [a % 2][half][i] each: the rows [a % 4][i]
// of one half.
inline __m512 half_of_lines(__m512 first, __m512 second, int half) {
  const __m512i index =
      _mm512_add_epi32(_mm512_setr_epi32(0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27),
                       _mm512_set1_epi32(4 * half));
  return _mm512_permutex2var_ps(first, index, second);
}

// A group's scales in the order of the blocks' rows.
template <int kBits>
inline void unpack_scales(const std::uint16_t* scales, float* to) {
  const __m512i halves_last =
      _mm512_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15);
  for (int q = 0; q < 2; ++q) {
    const __m512 first = load_scales(scales + 32 * q);
    const __m512 second = load_scales(scales + 32 * q + 16);
    if (kBits == 4) {
      _mm512_store_ps(to + 32 * q, half_of_lines(first, second, 0));
      _mm512_store_ps(to + 32 * q + 16, half_of_lines(first, second, 1));
    } else {
      _mm512_store_ps(to + 32 * q, _mm512_permutexvar_ps(halves_last, first));
      _mm512_store_ps(to + 32 * q + 16, _mm512_permutexvar_ps(halves_last, second));
    }
  }
}

inline __m512 gated(__m512 gate, __m512 up) {
  __m512 x = _mm512_sub_ps(_mm512_setzero_ps(), gate);
  x = _mm512_max_ps(x, _mm512_set1_ps(kLowestExponent));
  x = _mm512_min_ps(x, _mm512_set1_ps(kHighestExponent));
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(kLog2E)),
                                        _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(kLn2High), x);
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(kLn2Low), r);
  __m512 e = _mm512_set1_ps(kExpTaylor[0]);
  for (int term = 1; term < kExpTerms; ++term)
    e = _mm512_fmadd_ps(e, r, _mm512_set1_ps(kExpTaylor[term]));
  const __m512i power =
      _mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23);
  e = _mm512_mul_ps(e, _mm512_castsi512_ps(power));
  const __m512 one = _mm512_set1_ps(1);
  return _mm512_mul_ps(_mm512_div_ps(gate, _mm512_add_ps(one, e)), up);
}

// 16 results of the row; those beyond its end are left out.
inline void store_row(float* to, std::int64_t left, __m512 value) {
  if (left >= 16) {
    _mm512_storeu_ps(to, value);
  } else if (left > 0) {
    _mm512_mask_storeu_ps(to, static_cast<__mmask16>((1U << left) - 1), value);
  }
}

// halves[2 q + half], rows [a % 4][i] -> rows 16 i + 8 half + a.
inline void finish(const TileProduct& job, std::int64_t strip, std::int64_t token,
                   const __m512* halves) {
  const std::int64_t first = strip * (job.gated ? kStrip / 2 : kStrip);
  float* out = job.out + job.out_rows[token] * job.out_stride + first;
  const std::int64_t left = job.out_columns - first;
  for (int i = 0; i < 4; i += 2) {
    // [i][a], [i + 1][a]
    const __m512i index = _mm512_add_epi32(
        _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 1, 5, 9, 13, 17, 21, 25, 29),
        _mm512_set1_epi32(i));
    const __m512 a = _mm512_permutex2var_ps(halves[0], index, halves[2]);
    const __m512 b = _mm512_permutex2var_ps(halves[1], index, halves[3]);
    if (job.gated) {
      store_row(out + 8 * i, left - 8 * i, gated(a, b));
    } else {
      store_row(out + 16 * i, left - 16 * i, _mm512_shuffle_f32x4(a, b, 0x44));
      store_row(out + 16 * i + 16, left - 16 * i - 16, _mm512_shuffle_f32x4(a, b, 0xee));
    }
  }
}

// A token's sums in the order of the blocks.
template <int kBits>
inline void finish_sums(const TileProduct& job, std::int64_t strip, std::int64_t token,
                        const float* sums) {
  __m512 halves[kBlocks];
  for (int q = 0; q < 2; ++q) {
    const __m512 first = _mm512_load_ps(sums + 32 * q);
    const __m512 second = _mm512_load_ps(sums + 32 * q + 16);
    if (kBits == 4) {
      halves[2 * q] = first;
      halves[2 * q + 1] = second;
      continue;
    }
    for (int half = 0; half < 2; ++half) {
      const __m512i index = _mm512_add_epi32(
          _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30),
          _mm512_set1_epi32(half));
      halves[2 * q + half] = _mm512_permutex2var_ps(first, index, second);
    }
  }
  finish(job, strip, token, halves);
}

}  // namespace
}  // namespace krasis::cpu
