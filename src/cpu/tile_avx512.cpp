// Compiled for AVX-512 F, BW, DQ, VL and VNNI; see tile_kernels.h for what may be included here.
#include <immintrin.h>

#include "cpu/tile_vectors512.h"
#include "cpu/unrolled.h"

namespace krasis::cpu {
namespace {

constexpr std::int64_t kTokenBlock = 48;  // 12 KiB of sums and 6 KiB of activations stay in L1
constexpr int kTokensAtOnce = 6;          // 24 sums, 4 weights, 1 activation of 32 registers

// Scratch of the block kernel.
constexpr std::size_t kSumsAt = std::size_t{8} << 10;  // behind the unpacked group of a strip
constexpr std::size_t kScalesAt = kSumsAt + kTokenBlock * kStrip * sizeof(float);
static_assert(kScalesAt + kStrip * sizeof(float) <= kTileScratchBytes);

// Sixteen sums. gcc 12 copies an accumulator of vpdpbusd twice a turn if it is a __m512i, which it
// takes for eight 64-bit numbers.
using Sums = int __attribute__((vector_size(64)));

inline void add_dot(Sums& sums, __m512i weights, __m512i x) {
  sums = (Sums)_mm512_dpbusd_epi32((__m512i)sums, weights, x);
}

// ---- one token: weights go from memory through registers once ----

// sums[2 a + half]: [j][i], those of the upper half 16 times as large.
inline void add_tile4(const std::uint8_t* tile, const std::int8_t* q, Sums* sums) {
  const __m512i words = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
  const __m512i low = _mm512_set1_epi8(15);
  const __m512i high = _mm512_set1_epi8(static_cast<char>(0xf0));
  const __m512i x = _mm512_permutexvar_epi32(
      words, _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(q))));
  unrolled<8>([&](auto a) {
    const __m512i w = load512(tile + a * 64);
    add_dot(sums[2 * a], _mm512_and_si512(w, low), x);
    add_dot(sums[2 * a + 1], _mm512_and_si512(w, high), x);
  });
}

// sums[2 a], sums[2 a + 1]: columns j = 0, 1 and j = 2, 3, rows [i][half] in each 256 bits.
inline void add_tile8(const std::uint8_t* tile, const std::int8_t* q, Sums* sums) {
  const __m512i words = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
  const __m512i all = _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(q)));
  const __m512i x0 = _mm512_permutexvar_epi32(words, all);
  const __m512i x1 = _mm512_permutexvar_epi32(_mm512_add_epi32(words, _mm512_set1_epi32(2)), all);
  unrolled<8>([&](auto a) {
    add_dot(sums[2 * a], load512(tile + a * 128), x0);
    add_dot(sums[2 * a + 1], load512(tile + a * 128 + 64), x1);
  });
}

// The dot products of a pair of lines, rows [a % 2][half][i].
inline __m512i pair_sums4(__m512i low0, __m512i high0, __m512i low1, __m512i high1) {
  const __m512i first = _mm512_add_epi32(_mm512_shuffle_i32x4(low0, high0, 0x44),
                                         _mm512_shuffle_i32x4(low0, high0, 0xee));
  const __m512i second = _mm512_add_epi32(_mm512_shuffle_i32x4(low1, high1, 0x44),
                                          _mm512_shuffle_i32x4(low1, high1, 0xee));
  const __m512i all = _mm512_add_epi32(_mm512_shuffle_i32x4(first, second, 0x88),
                                       _mm512_shuffle_i32x4(first, second, 0xdd));
  return _mm512_srav_epi32(all, _mm512_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4, 0, 0, 0, 0, 4, 4, 4, 4));
}

inline __m512i pair_sums8(__m512i left0, __m512i right0, __m512i left1, __m512i right1) {
  const __m512i first = _mm512_add_epi32(left0, right0);
  const __m512i second = _mm512_add_epi32(left1, right1);
  const __m512i all = _mm512_add_epi32(_mm512_shuffle_i32x4(first, second, 0x44),
                                       _mm512_shuffle_i32x4(first, second, 0xee));
  const __m512i halves_first =
      _mm512_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15);
  return _mm512_permutexvar_epi32(halves_first, all);
}

template <int kBits>
[[gnu::flatten]] void one_token(const TileProduct& job, std::int64_t strip, std::int64_t token) {
  const std::int64_t row = job.in_rows[token];
  const std::int64_t groups = job.columns / job.group;
  const std::uint8_t* tile = job.tiles + strip * job.columns * kStrip * kBits / 8;
  const std::uint16_t* scales = job.scales + strip * groups * kStrip;
  const std::int8_t* q = job.q + row * job.columns;
  __m512 lines[4];
  for (__m512& line : lines) line = _mm512_setzero_ps();
  for (std::int64_t g = 0; g < groups; ++g, scales += kStrip) {
    Sums sums[16];
    unrolled<16>([&](auto n) { sums[n] = Sums{}; });
    for (int k = 0; k < job.group; k += kTile, q += kTile, tile += kStrip * kTile * kBits / 8) {
      prefetch_tile(tile, kBits);
      if (kBits == 4) {
        add_tile4(tile, q, sums);
      } else {
        add_tile8(tile, q, sums);
      }
    }
    const __m512i offset = _mm512_set1_epi32(job.x_offsets[row * groups + g]);
    const __m512 x_scale = _mm512_set1_ps(job.x_scales[row * groups + g]);
    unrolled<4>([&](auto pair) {
      const auto part = [&](auto n) { return (__m512i)sums[4 * pair + n]; };
      const __m512i dot =
          kBits == 4
              ? pair_sums4(part(Index<0>{}), part(Index<1>{}), part(Index<2>{}), part(Index<3>{}))
              : pair_sums8(part(Index<0>{}), part(Index<1>{}), part(Index<2>{}), part(Index<3>{}));
      lines[pair] =
          _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(dot, offset)),
                          _mm512_mul_ps(load_scales(scales + 16 * pair), x_scale), lines[pair]);
    });
  }
  const __m512 halves[kBlocks] = {
      half_of_lines(lines[0], lines[1], 0), half_of_lines(lines[0], lines[1], 1),
      half_of_lines(lines[2], lines[3], 0), half_of_lines(lines[2], lines[3], 1)};
  finish(job, strip, token, halves);
}

// ---- many tokens: a group of a strip is unpacked into L1 and used by all of them ----

// Some tokens' activations in one group.
struct Tokens {
  const std::int8_t* q[kTokensAtOnce];
  std::int32_t offset[kTokensAtOnce];
  float scale[kTokensAtOnce];
};

inline __m512i broadcast_word(const std::int8_t* from) {
  std::int32_t word;
  __builtin_memcpy(&word, from, sizeof word);
  return _mm512_set1_epi32(word);
}

// Adds the scaled dot products of kTokens tokens with the strip's rows to sums [kTokens][64].
template <int kTokens>
[[gnu::flatten]] void add_group(const std::uint8_t* scratch, int steps, const Tokens& tokens,
                                float* sums) {
  Sums dots[kTokens][kBlocks];
  unrolled<kTokens>([&](auto t) {
    const auto start = (Sums)_mm512_set1_epi32(-tokens.offset[t]);
    unrolled<kBlocks>([&](auto b) { dots[t][b] = start; });
  });
  const std::int8_t* q[kTokens];
  unrolled<kTokens>([&](auto t) { q[t] = tokens.q[t]; });
  const std::uint8_t* weights = scratch;
  for (int k = 0; k < 4 * steps; k += 4, weights += kBlocks * 64) {
    __m512i w[kBlocks];
    unrolled<kBlocks>([&](auto b) { w[b] = _mm512_load_si512(weights + b * 64); });
    unrolled<kTokens>([&](auto t) {
      const __m512i x = broadcast_word(q[t] + k);
      unrolled<kBlocks>([&](auto b) { add_dot(dots[t][b], w[b], x); });
    });
  }
  const auto* scales = reinterpret_cast<const float*>(scratch + kScalesAt);
  unrolled<kTokens>([&](auto t) {
    const __m512 x_scale = _mm512_set1_ps(tokens.scale[t]);
    unrolled<kBlocks>([&](auto b) {
      float* sum = sums + t * kStrip + b * 16;
      const __m512 scale = _mm512_mul_ps(_mm512_load_ps(scales + 16 * b), x_scale);
      _mm512_store_ps(sum, _mm512_fmadd_ps(_mm512_cvtepi32_ps((__m512i)dots[t][b]), scale,
                                           _mm512_load_ps(sum)));
    });
  });
}

using AddGroup = void(const std::uint8_t* scratch, int steps, const Tokens& tokens, float* sums);
constexpr AddGroup* kAddGroup[kTokensAtOnce + 1] = {nullptr,
                                                    add_group<1>,
                                                    add_group<2>,
                                                    add_group<3>,
                                                    add_group<4>,
                                                    add_group<5>,
                                                    add_group<kTokensAtOnce>};

void add_group_to_block(const TileProduct& job, std::int64_t first, std::int64_t count,
                        std::int64_t g) {
  const std::int64_t groups = job.columns / job.group;
  auto* sums = reinterpret_cast<float*>(job.scratch + kSumsAt);
  for (std::int64_t t = 0; t < count; t += kTokensAtOnce, sums += kTokensAtOnce * kStrip) {
    const int tokens_now = count - t < kTokensAtOnce ? static_cast<int>(count - t) : kTokensAtOnce;
    Tokens tokens;
    for (int n = 0; n < tokens_now; ++n) {
      const std::int64_t row = job.in_rows[first + t + n];
      tokens.q[n] = job.q + row * job.columns + g * job.group;
      tokens.offset[n] = job.x_offsets[row * groups + g];
      tokens.scale[n] = job.x_scales[row * groups + g];
    }
    kAddGroup[tokens_now](job.scratch, job.group / 4, tokens, sums);
  }
}

template <int kBits>
void many_tokens(const TileProduct& job) {
  const std::int64_t groups = job.columns / job.group;
  auto* sums = reinterpret_cast<float*>(job.scratch + kSumsAt);
  for (std::int64_t strip = 0; strip < job.strips; ++strip) {
    const std::uint8_t* tiles = job.tiles + strip * job.columns * kStrip * kBits / 8;
    const std::uint16_t* scales = job.scales + strip * groups * kStrip;
    for (std::int64_t first = 0; first < job.rows; first += kTokenBlock) {
      const std::int64_t count = job.rows - first < kTokenBlock ? job.rows - first : kTokenBlock;
      for (std::int64_t n = 0; n < count * kStrip; n += 16)
        _mm512_store_ps(sums + n, _mm512_setzero_ps());
      for (std::int64_t g = 0; g < groups; ++g) {
        unpack_group<kBits>(tiles + g * job.group * kStrip * kBits / 8, job.group, job.scratch);
        unpack_scales<kBits>(scales + g * kStrip,
                             reinterpret_cast<float*>(job.scratch + kScalesAt));
        add_group_to_block(job, first, count, g);
      }
      for (std::int64_t t = 0; t < count; ++t)
        finish_sums<kBits>(job, strip, first + t, sums + t * kStrip);
    }
  }
}

template <int kBits>
void product(const TileProduct& job) {
  if (job.rows > 1) {
    many_tokens<kBits>(job);
    return;
  }
  for (std::int64_t strip = 0; strip < job.strips && job.rows == 1; ++strip)
    one_token<kBits>(job, strip, 0);
}

}  // namespace

void tile_product_avx512(const TileProduct& job) {
  job.bits == 4 ? product<4>(job) : product<8>(job);
}

}  // namespace krasis::cpu
