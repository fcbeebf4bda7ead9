// The tile kernels on vectors of 256 bits, for the instruction sets that tile_avx2.cpp and
// tile_avxvnni.cpp define as
//   struct Isa {
//     using Sums = ...;                       // of products, before they are widened to 32 bits
//     static void add_dot(Sums& sums, __m256i weights, __m256i x);   // unsigned * signed bytes
//     static __m256i widen(Sums sums, int factor);                   // 32 bits, times 1 or 16
//     static constexpr bool kNibbles;         // weights must be below 16: bytes are split, and
//                                             // eight sums at most are made before widening
//     static constexpr int kTokensAtOnce;     // as many as registers hold
//   };
// Only for files compiled for AVX2; see tile_kernels.h for what those include.
#pragma once

#include <immintrin.h>

#include "cpu/tile_kernels.h"
#include "cpu/unrolled.h"

namespace krasis::cpu {
namespace {

inline constexpr std::int64_t kStrip = 64;
inline constexpr int kTile = 16;
inline constexpr int kSteps = 8;  // 16-bit sums hold so many products of nibbles
// 12 KiB of sums and 6 KiB of activations stay in L1.
inline constexpr std::int64_t kTokenBlock = 48;
inline constexpr int kMaxTokensAtOnce = 6;

// Of one token, found on a Zen 3: asking for memory 2 KiB ahead reads it 10 % faster than 4 KiB,
// and two long strips side by side 6 % faster than one; short ones lose more at their ends.
inline constexpr std::int64_t kAhead = 2048;  // bytes
inline constexpr int kStreams = 2;
inline constexpr std::int64_t kLongStrip = 64 << 10;     // bytes
inline constexpr std::int64_t kAheadOfUnpacking = 4096;  // bytes

// Scratch of the block kernel: sums stand behind the unpacked group of a strip.
inline constexpr std::size_t kSumsAt = std::size_t{16} << 10;
inline constexpr std::size_t kScalesAt = kSumsAt + kTokenBlock * kStrip * sizeof(float);
static_assert(kScalesAt + kStrip * sizeof(float) <= kTileScratchBytes);

inline __m256i load(const std::uint8_t* from) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
}

inline void store(std::uint8_t* to, __m256i value) {
  _mm256_store_si256(reinterpret_cast<__m256i*>(to), value);
}

inline __m256i broadcast_word(const std::int8_t* from) {
  std::int32_t word;
  __builtin_memcpy(&word, from, sizeof word);
  return _mm256_set1_epi32(word);
}

inline __m256i low_nibbles(__m256i w) {
  return _mm256_and_si256(w, _mm256_set1_epi8(15));
}

inline __m256i high_nibbles(__m256i w) {
  return low_nibbles(_mm256_srli_epi16(w, 4));
}

inline __m256 load_scales(const std::uint16_t* scales) {
  const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(scales));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}

inline void add_scaled(float* sum, __m256i dot, __m256i offset, __m256 scale) {
  const __m256 value = _mm256_cvtepi32_ps(_mm256_sub_epi32(dot, offset));
  _mm256_store_ps(sum, _mm256_fmadd_ps(value, scale, _mm256_load_ps(sum)));
}

// ---- one token: weights go from memory through registers once ----

// The sums of the eight lines of `kTiles` k-tiles, line a: [half][i] of 4 bits.
template <class Isa, int kTiles>
[[gnu::flatten, gnu::noinline]] void add_tiles4(const std::uint8_t* tile, const std::int8_t* q,
                                                __m256i* sums) {
  const __m256i first =
      _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3));
  const __m256i words =
      _mm256_add_epi8(first, _mm256_setr_epi64x(0, 0, 0x0404040404040404, 0x0404040404040404));
  __m256i x[2 * kTiles];
  for (int k = 0; k < kTiles; ++k) {
    const __m256i both = _mm256_broadcastsi128_si256(
        _mm_loadu_si128(reinterpret_cast<const __m128i*>(q + k * kTile)));
    x[2 * k] = _mm256_shuffle_epi8(both, words);
    x[2 * k + 1] = _mm256_shuffle_epi8(both, _mm256_add_epi8(words, _mm256_set1_epi8(8)));
  }
  for (int a = 0; a < 8; ++a) {
    typename Isa::Sums low_sums{};
    typename Isa::Sums high_sums{};
    for (int k = 0; k < kTiles; ++k)
      _mm_prefetch(tile + kAhead + (a * kTiles + k) * 64, _MM_HINT_T0);
    unrolled<2 * kTiles>([&](auto k) {
      const __m256i w = load(tile + k / 2 * 512 + a * 64 + k % 2 * 32);
      Isa::add_dot(low_sums, low_nibbles(w), x[k]);
      Isa::add_dot(high_sums, high_nibbles(w), x[k]);
    });
    const __m256i low = Isa::widen(low_sums, 1);
    const __m256i high = Isa::widen(high_sums, 1);
    sums[a] =
        _mm256_add_epi32(sums[a], _mm256_add_epi32(_mm256_permute2x128_si256(low, high, 0x20),
                                                   _mm256_permute2x128_si256(low, high, 0x31)));
  }
}

// The same for two k-tiles of 8 bits; line a: [i][half].
template <class Isa>
[[gnu::flatten, gnu::noinline]] void add_tiles8(const std::uint8_t* tile, const std::int8_t* q,
                                                __m256i* sums) {
  __m256i x[kSteps];
  for (int step = 0; step < kSteps; ++step) x[step] = broadcast_word(q + step * 4);
  for (int a = 0; a < 8; ++a) {
    typename Isa::Sums low{};
    typename Isa::Sums high{};
    for (int k = 0; k < 4; ++k) _mm_prefetch(tile + kAhead + (a * 4 + k) * 64, _MM_HINT_T0);
    unrolled<kSteps>([&](auto step) {
      const __m256i w = load(tile + step / 4 * 1024 + a * 128 + step % 4 * 32);
      if constexpr (Isa::kNibbles) {
        Isa::add_dot(low, low_nibbles(w), x[step]);
        Isa::add_dot(high, high_nibbles(w), x[step]);
      } else {
        Isa::add_dot(step % 2 == 0 ? low : high, w, x[step]);
      }
    });
    sums[a] = _mm256_add_epi32(
        sums[a], _mm256_add_epi32(Isa::widen(low, 1), Isa::widen(high, Isa::kNibbles ? 16 : 1)));
  }
}

inline __m256i halves_first() {
  return _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7);  // [i][half] -> [half][i]
}

// The 64 results of each of `strips` strips in the order of their scales: lines[8 * strip + a] =
// [half][i].
template <class Isa, int kBits>
inline void one_token(const TileProduct& job, std::int64_t first_strip, int strips,
                      std::int64_t row, __m256* lines) {
  const std::int64_t groups = job.columns / job.group;
  const std::int64_t strip_bytes = job.columns * kStrip * kBits / 8;
  const std::uint8_t* tile = job.tiles + first_strip * strip_bytes;
  const std::uint16_t* scales = job.scales + first_strip * groups * kStrip;
  const std::int8_t* q = job.q + row * job.columns;
  for (int n = 0; n < 8 * strips; ++n) lines[n] = _mm256_setzero_ps();
  const bool half_steps = kBits == 4 && job.group == 32;
  const int step = kBits == 8 || half_steps ? 2 * kTile : 4 * kTile;
  for (std::int64_t g = 0; g < groups; ++g, scales += kStrip) {
    __m256i sums[8 * kStreams];
    for (int n = 0; n < 8 * strips; ++n) sums[n] = _mm256_setzero_si256();
    for (int k = 0; k < job.group; k += step, q += step, tile += step * kStrip * kBits / 8) {
      for (int s = 0; s < strips; ++s) {
        const std::uint8_t* from = tile + s * strip_bytes;
        if (kBits == 8) {
          add_tiles8<Isa>(from, q, sums + 8 * s);
        } else if (half_steps) {
          add_tiles4<Isa, 2>(from, q, sums + 8 * s);
        } else {
          add_tiles4<Isa, 4>(from, q, sums + 8 * s);
        }
      }
    }
    const __m256i offset = _mm256_set1_epi32(job.x_offsets[row * groups + g]);
    const __m256 x_scale = _mm256_set1_ps(job.x_scales[row * groups + g]);
    for (int n = 0; n < 8 * strips; ++n) {
      if (kBits == 8) sums[n] = _mm256_permutevar8x32_epi32(sums[n], halves_first());
      const __m256 value = _mm256_cvtepi32_ps(_mm256_sub_epi32(sums[n], offset));
      const std::uint16_t* of_line = scales + n / 8 * groups * kStrip + n % 8 * 8;
      lines[n] = _mm256_fmadd_ps(value, _mm256_mul_ps(load_scales(of_line), x_scale), lines[n]);
    }
  }
}

// ---- the end of a strip ----

inline void transpose(__m256* r) {
  __m256 s[8];
  for (int n = 0; n < 8; n += 2) {
    s[n] = _mm256_unpacklo_ps(r[n], r[n + 1]);
    s[n + 1] = _mm256_unpackhi_ps(r[n], r[n + 1]);
  }
  __m256 u[8];
  for (int n = 0; n < 8; n += 4) {
    u[n] = _mm256_shuffle_ps(s[n], s[n + 2], 0x44);
    u[n + 1] = _mm256_shuffle_ps(s[n], s[n + 2], 0xee);
    u[n + 2] = _mm256_shuffle_ps(s[n + 1], s[n + 3], 0x44);
    u[n + 3] = _mm256_shuffle_ps(s[n + 1], s[n + 3], 0xee);
  }
  for (int n = 0; n < 4; ++n) {
    r[n] = _mm256_permute2f128_ps(u[n], u[n + 4], 0x20);
    r[n + 4] = _mm256_permute2f128_ps(u[n], u[n + 4], 0x31);
  }
}

inline __m256 gated(__m256 gate, __m256 up) {
  __m256 x = _mm256_sub_ps(_mm256_setzero_ps(), gate);
  x = _mm256_max_ps(x, _mm256_set1_ps(kLowestExponent));
  x = _mm256_min_ps(x, _mm256_set1_ps(kHighestExponent));
  const __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(kLog2E)),
                                   _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(kLn2High), x);
  r = _mm256_fnmadd_ps(n, _mm256_set1_ps(kLn2Low), r);
  __m256 e = _mm256_set1_ps(kExpTaylor[0]);
  for (int term = 1; term < kExpTerms; ++term)
    e = _mm256_fmadd_ps(e, r, _mm256_set1_ps(kExpTaylor[term]));
  const __m256i power =
      _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
  e = _mm256_mul_ps(e, _mm256_castsi256_ps(power));
  const __m256 one = _mm256_set1_ps(1);
  return _mm256_mul_ps(_mm256_div_ps(gate, _mm256_add_ps(one, e)), up);
}

// Eight results of the row; those beyond its end are left out.
inline void store_row(float* to, std::int64_t left, __m256 value) {
  if (left >= 8) {
    _mm256_storeu_ps(to, value);
  } else if (left > 0) {
    const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    _mm256_maskstore_ps(to, _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(left)), index),
                        value);
  }
}

// lines[a] = [half][i] -> rows 16 i + 8 half + a.
inline void finish(const TileProduct& job, std::int64_t strip, std::int64_t token, __m256* lines) {
  transpose(lines);
  const std::int64_t first = strip * (job.gated ? kStrip / 2 : kStrip);
  float* out = job.out + job.out_rows[token] * job.out_stride + first;
  const std::int64_t left = job.out_columns - first;
  for (int i = 0; i < 4; ++i) {
    if (job.gated) {
      store_row(out + 8 * i, left - 8 * i, gated(lines[i], lines[4 + i]));
    } else {
      store_row(out + 16 * i, left - 16 * i, lines[i]);
      store_row(out + 16 * i + 8, left - 16 * i - 8, lines[4 + i]);
    }
  }
}

template <class Isa, int kBits>
inline void few_tokens(const TileProduct& job) {
  const int streams = job.columns * kStrip * kBits / 8 < kLongStrip ? 1 : kStreams;
  __m256 lines[8 * kStreams];
  for (std::int64_t t = 0; t < job.rows; ++t) {
    for (std::int64_t strip = 0; strip < job.strips; strip += streams) {
      const std::int64_t left = job.strips - strip;
      const int strips = left < streams ? static_cast<int>(left) : streams;
      one_token<Isa, kBits>(job, strip, strips, job.in_rows[t], lines);
      for (int s = 0; s < strips; ++s) finish(job, strip + s, t, lines + 8 * s);
    }
  }
}

// ---- many tokens: a group of a strip is unpacked into L1 and used by all of them ----

// Bytes that must be split into nibbles.
template <class Isa, int kBits>
inline constexpr bool kSplit = Isa::kNibbles&& kBits == 8;

// Weights as pairs of vectors for each step of four columns, eight rows a vector.
//   4 bits: [line pair][step][A, B], rows [a % 2][i]
//   8 bits: [line pair][step][line], rows [i][half]
//   8 bits, split: [line][step][low, high nibbles], rows [i][half]
template <class Isa, int kBits>
inline void unpack_group(const std::uint8_t* tile, int steps, std::uint8_t* to) {
  for (int step = 0; step < steps; step += 4, tile += kTile * kStrip * kBits / 8) {
    for (int line = 0; line < 2 * kBits; ++line)
      _mm_prefetch(tile + kAheadOfUnpacking + line * 64, _MM_HINT_T0);
    if (kBits == 8) {
      for (int a = 0; a < 8; ++a) {
        for (int j = 0; j < 4; ++j) {
          const __m256i w = load(tile + a * 128 + j * 32);
          if constexpr (kSplit<Isa, kBits>) {
            std::uint8_t* pair = to + (a * steps + step + j) * 64;
            store(pair, low_nibbles(w));
            store(pair + 32, high_nibbles(w));
          } else {
            store(to + (a / 2 * steps + step + j) * 64 + a % 2 * 32, w);
          }
        }
      }
      continue;
    }
    for (int a = 0; a < 8; a += 2) {
      for (int j = 0; j < 4; j += 2) {
        const __m256i first = load(tile + a * 64 + j * 16);
        const __m256i second = load(tile + a * 64 + 64 + j * 16);
        const __m256i even = _mm256_permute2x128_si256(first, second, 0x20);
        const __m256i odd = _mm256_permute2x128_si256(first, second, 0x31);
        std::uint8_t* pair = to + (a / 2 * steps + step + j) * 64;
        store(pair, low_nibbles(even));
        store(pair + 32, high_nibbles(even));
        store(pair + 64, low_nibbles(odd));
        store(pair + 96, high_nibbles(odd));
      }
    }
  }
}

// The group's scales in the order of the unpacked rows.
template <int kBits>
inline void unpack_scales(const std::uint16_t* scales, float* to) {
  for (int a = 0; a < 8; a += 2) {
    const __m256 first = load_scales(scales + 8 * a);
    const __m256 second = load_scales(scales + 8 * a + 8);
    if (kBits == 8) {
      const __m256i halves_last = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
      _mm256_store_ps(to + 8 * a, _mm256_permutevar8x32_ps(first, halves_last));
      _mm256_store_ps(to + 8 * a + 8, _mm256_permutevar8x32_ps(second, halves_last));
    } else {
      _mm256_store_ps(to + 8 * a, _mm256_permute2f128_ps(first, second, 0x20));
      _mm256_store_ps(to + 8 * a + 8, _mm256_permute2f128_ps(first, second, 0x31));
    }
  }
}

// Some tokens' activations in one group.
struct Tokens {
  const std::int8_t* q[kMaxTokensAtOnce];
  std::int32_t offset[kMaxTokensAtOnce];
  float scale[kMaxTokensAtOnce];
};

// The dot products of kTokens tokens with 16 (split: 8) rows, scaled and added to sums
// [kTokens][64].
template <class Isa, int kBits, int kTokens>
[[gnu::flatten, gnu::noinline]] void add_rows(const std::uint8_t* weights, int steps,
                                              const Tokens& tokens, const float* scales,
                                              float* sums) {
  constexpr int kVectors = kSplit<Isa, kBits> ? 1 : 2;
  constexpr int kFactor = kSplit<Isa, kBits> ? 16 : 1;  // of the second vector's sums
  __m256i dots[kTokens][kVectors];
  typename Isa::Sums narrow[kTokens][2];
  const std::int8_t* q[kTokens];
  unrolled<kTokens>([&](auto t) {
    q[t] = tokens.q[t];
    unrolled<kVectors>([&](auto v) { dots[t][v] = _mm256_setzero_si256(); });
    narrow[t][0] = narrow[t][1] = typename Isa::Sums{};
  });
  const auto widen_sums = [&](auto t) {
    dots[t][0] = _mm256_add_epi32(dots[t][0], Isa::widen(narrow[t][0], 1));
    dots[t][kVectors - 1] =
        _mm256_add_epi32(dots[t][kVectors - 1], Isa::widen(narrow[t][1], kFactor));
    narrow[t][0] = narrow[t][1] = typename Isa::Sums{};
  };
  for (int first = 0; first < steps; first += kSteps, weights += kSteps * 64) {
    unrolled<kSteps>([&](auto step) {
      const __m256i w0 = load(weights + step * 64);
      const __m256i w1 = load(weights + step * 64 + 32);
      unrolled<kTokens>([&](auto t) {
        const __m256i x = broadcast_word(q[t] + 4 * first + 4 * step);
        Isa::add_dot(narrow[t][0], w0, x);
        Isa::add_dot(narrow[t][1], w1, x);
      });
    });
    if constexpr (Isa::kNibbles) unrolled<kTokens>(widen_sums);
  }
  if constexpr (!Isa::kNibbles) unrolled<kTokens>(widen_sums);
  unrolled<kTokens>([&](auto t) {
    unrolled<kVectors>([&](auto v) {
      const __m256 scale =
          _mm256_mul_ps(_mm256_load_ps(scales + 8 * v), _mm256_set1_ps(tokens.scale[t]));
      add_scaled(sums + t * kStrip + 8 * v, dots[t][v], _mm256_set1_epi32(tokens.offset[t]), scale);
    });
  });
}

template <class Isa, int kBits, int kTokens>
inline void add_group(const std::uint8_t* scratch, int steps, const Tokens& tokens, float* sums) {
  constexpr int kRows = kSplit<Isa, kBits> ? 8 : 16;
  const auto* scales = reinterpret_cast<const float*>(scratch + kScalesAt);
  for (int row = 0; row < kStrip; row += kRows, scratch += steps * 64)
    add_rows<Isa, kBits, kTokens>(scratch, steps, tokens, scales + row, sums + row);
}

// With `count` tokens, 1 to kTokens.
template <class Isa, int kBits, int kTokens>
inline void add_group_of(int count, const std::uint8_t* scratch, int steps, const Tokens& tokens,
                         float* sums) {
  if constexpr (kTokens > 1) {
    if (count < kTokens) {
      add_group_of<Isa, kBits, kTokens - 1>(count, scratch, steps, tokens, sums);
      return;
    }
  }
  add_group<Isa, kBits, kTokens>(scratch, steps, tokens, sums);
}

template <class Isa, int kBits>
inline void add_group_to_block(const TileProduct& job, std::int64_t first, std::int64_t count,
                               std::int64_t g) {
  constexpr int kAtOnce = Isa::kTokensAtOnce;
  static_assert(kAtOnce <= kMaxTokensAtOnce);
  const std::int64_t groups = job.columns / job.group;
  auto* sums = reinterpret_cast<float*>(job.scratch + kSumsAt);
  for (std::int64_t t = 0; t < count; t += kAtOnce, sums += kAtOnce * kStrip) {
    const int now = count - t < kAtOnce ? static_cast<int>(count - t) : kAtOnce;
    Tokens tokens{};
    for (int n = 0; n < now; ++n) {
      const std::int64_t row = job.in_rows[first + t + n];
      tokens.q[n] = job.q + row * job.columns + g * job.group;
      tokens.offset[n] = job.x_offsets[row * groups + g];
      tokens.scale[n] = job.x_scales[row * groups + g];
    }
    add_group_of<Isa, kBits, kAtOnce>(now, job.scratch, job.group / 4, tokens, sums);
  }
}

template <int kBits>
inline void finish_block(const TileProduct& job, std::int64_t strip, std::int64_t first,
                         std::int64_t count) {
  const auto* sums = reinterpret_cast<const float*>(job.scratch + kSumsAt);
  for (std::int64_t t = 0; t < count; ++t, sums += kStrip) {
    __m256 lines[8];
    for (int a = 0; a < 8; a += 2) {
      const __m256 even = _mm256_load_ps(sums + 8 * a);
      const __m256 odd = _mm256_load_ps(sums + 8 * a + 8);
      if (kBits == 8) {
        lines[a] = _mm256_permutevar8x32_ps(even, halves_first());
        lines[a + 1] = _mm256_permutevar8x32_ps(odd, halves_first());
      } else {
        lines[a] = _mm256_permute2f128_ps(even, odd, 0x20);
        lines[a + 1] = _mm256_permute2f128_ps(even, odd, 0x31);
      }
    }
    finish(job, strip, first + t, lines);
  }
}

template <class Isa, int kBits>
inline void many_tokens(const TileProduct& job) {
  const std::int64_t groups = job.columns / job.group;
  auto* sums = reinterpret_cast<float*>(job.scratch + kSumsAt);
  for (std::int64_t strip = 0; strip < job.strips; ++strip) {
    const std::uint8_t* tiles = job.tiles + strip * job.columns * kStrip * kBits / 8;
    const std::uint16_t* scales = job.scales + strip * groups * kStrip;
    for (std::int64_t first = 0; first < job.rows; first += kTokenBlock) {
      const std::int64_t count = job.rows - first < kTokenBlock ? job.rows - first : kTokenBlock;
      for (std::int64_t n = 0; n < count * kStrip; n += 8)
        _mm256_store_ps(sums + n, _mm256_setzero_ps());
      for (std::int64_t g = 0; g < groups; ++g) {
        unpack_group<Isa, kBits>(tiles + g * job.group * kStrip * kBits / 8, job.group / 4,
                                 job.scratch);
        unpack_scales<kBits>(scales + g * kStrip,
                             reinterpret_cast<float*>(job.scratch + kScalesAt));
        add_group_to_block<Isa, kBits>(job, first, count, g);
      }
      finish_block<kBits>(job, strip, first, count);
    }
  }
}

template <class Isa>
inline void product(const TileProduct& job) {
  if (job.rows == 1) {
    job.bits == 4 ? few_tokens<Isa, 4>(job) : few_tokens<Isa, 8>(job);
  } else {
    job.bits == 4 ? many_tokens<Isa, 4>(job) : many_tokens<Isa, 8>(job);
  }
}

}  // namespace
}  // namespace krasis::cpu
