// Compiled with -mavx2 -mfma -mf16c; see vector_kernels.h for what may be included here.
#include <immintrin.h>

#include "cpu/vector_templates.h"

namespace krasis::cpu {
namespace {

struct Avx2 {
  using Float = __m256;
  static constexpr int kWidth = 8;
  // Of 16 registers: sums of a tile, its weights, one operand.
  static constexpr int kOutputsOf1 = 8;
  static constexpr int kOutputsOf2 = 4;
  static constexpr int kOutputsOf3 = 3;
  static constexpr int kOutputsOf4 = 3;
  static constexpr int kValueVectors = 3;

  static Float zero() { return _mm256_setzero_ps(); }
  static Float set(float value) { return _mm256_set1_ps(value); }

  static __m256i first_lanes(int lanes) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(lanes), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static __m128i first_words(const std::uint16_t* words, int lanes) {
    // NOLINTNEXTLINE(modernize-avoid-c-arrays): see vector_kernels.h
    alignas(16) std::uint16_t copy[kWidth] = {};
    for (int i = 0; i < lanes; ++i) copy[i] = words[i];
    return _mm_load_si128(reinterpret_cast<const __m128i*>(copy));
  }
  static __m128i words(const std::uint16_t* words) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(words));
  }
  static Float from_brain(__m128i words) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(words), 16));
  }

  // Eight E4M3 in the low half of `bytes`. Their bits are those of an F16 2^8 times smaller but for
  // the sign, which extending repeats in the bit behind it.
  static Float from_quarter(__m128i bytes) {
    const __m128i words = _mm_slli_epi16(_mm_cvtepi8_epi16(bytes), 7);
    const __m128i half = _mm_and_si128(words, _mm_set1_epi16(static_cast<short>(0xBF80)));
    const __m128i nan = _mm_set1_epi16(0x3F80);
    const __m128i is_nan = _mm_cmpeq_epi16(_mm_and_si128(half, nan), nan);
    const __m128i all = _mm_or_si128(half, _mm_and_si128(is_nan, _mm_set1_epi16(0x7E00)));
    return _mm256_mul_ps(_mm256_cvtph_ps(all), _mm256_set1_ps(256));
  }

  static Float load(const float* from) { return _mm256_loadu_ps(from); }
  static Float load(const BrainBits* from) { return from_brain(words(&from->bits)); }
  static Float load(const HalfBits* from) { return _mm256_cvtph_ps(words(&from->bits)); }
  static Float load(const QuarterBits* from) {
    return from_quarter(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
  }
  static Float load_first(const float* from, int lanes) {
    return _mm256_maskload_ps(from, first_lanes(lanes));
  }
  static Float load_first(const BrainBits* from, int lanes) {
    return from_brain(first_words(&from->bits, lanes));
  }
  static Float load_first(const HalfBits* from, int lanes) {
    return _mm256_cvtph_ps(first_words(&from->bits, lanes));
  }
  static Float load_first(const QuarterBits* from, int lanes) {
    // NOLINTNEXTLINE(modernize-avoid-c-arrays): see vector_kernels.h
    alignas(8) QuarterBits copy[kWidth] = {};
    for (int i = 0; i < lanes; ++i) copy[i] = from[i];
    return load(copy);
  }
  static void store(float* to, Float value) { _mm256_storeu_ps(to, value); }
  static void store_first(float* to, Float value, int lanes) {
    _mm256_maskstore_ps(to, first_lanes(lanes), value);
  }

  static Float add(Float a, Float b) { return _mm256_add_ps(a, b); }
  static Float sub(Float a, Float b) { return _mm256_sub_ps(a, b); }
  static Float mul(Float a, Float b) { return _mm256_mul_ps(a, b); }
  static Float div(Float a, Float b) { return _mm256_div_ps(a, b); }
  static Float fma(Float a, Float b, Float c) { return _mm256_fmadd_ps(a, b, c); }
  static Float max(Float a, Float b) { return _mm256_max_ps(a, b); }
  static Float min(Float a, Float b) { return _mm256_min_ps(a, b); }
  static float root(float value) { return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(value))); }

  // Of each: ((0 + 1) + (2 + 3)) + ((4 + 5) + (6 + 7)).
  static __m128 four_sums(Float a, Float b, Float c, Float d) {
    const __m256 quarters = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    return _mm_add_ps(_mm256_castps256_ps128(quarters), _mm256_extractf128_ps(quarters, 1));
  }
  static void sum_four(Float a, Float b, Float c, Float d, float* sums) {
    _mm_storeu_ps(sums, four_sums(a, b, c, d));
  }
  static float sum(Float v) { return _mm_cvtss_f32(four_sums(v, v, v, v)); }
  static float largest(Float v) {
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
  }

  static Float round(Float v) {
    return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  static Float power_of_two(Float n) {
    const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23));
  }

  // To BF16, nearest even, NaN stays NaN.
  static void store_brain_first(std::uint16_t* to, Float value, int lanes) {
    const __m256i bits = _mm256_castps_si256(value);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded =
        _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    const __m256 is_nan = _mm256_cmp_ps(value, value, _CMP_UNORD_Q);
    const __m256i high =
        _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, _mm256_castps_si256(is_nan)), 16);
    const __m128i packed =
        _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));
    if (lanes == kWidth) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to), packed);
      return;
    }
    // NOLINTNEXTLINE(modernize-avoid-c-arrays): see vector_kernels.h
    alignas(16) std::uint16_t copy[kWidth];
    _mm_store_si128(reinterpret_cast<__m128i*>(copy), packed);
    for (int i = 0; i < lanes; ++i) to[i] = copy[i];
  }

  // To E4M3, as base/float8.h does it.
  static void store_quarter_first(std::uint8_t* to, Float value, int lanes) {
    const Float sign_bit = _mm256_set1_ps(-0.0F);
    const Float size = _mm256_andnot_ps(sign_bit, value);
    const __m256i bits = _mm256_castps_si256(_mm256_min_ps(size, _mm256_set1_ps(448)));
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 20), _mm256_set1_epi32(1));
    const __m256i raised =
        _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7ffff)));
    const __m256i large =
        _mm256_sub_epi32(_mm256_srli_epi32(raised, 20), _mm256_set1_epi32(120 << 3));
    const Float units = _mm256_set1_ps(0x1p14F);  // whose last place is 2^-9
    const __m256i small = _mm256_sub_epi32(_mm256_castps_si256(_mm256_add_ps(size, units)),
                                           _mm256_castps_si256(units));
    const Float is_small = _mm256_cmp_ps(size, _mm256_set1_ps(0x1p-6F), _CMP_LT_OQ);
    const Float is_nan = _mm256_cmp_ps(value, value, _CMP_UNORD_Q);
    __m256i result = _mm256_blendv_epi8(large, small, _mm256_castps_si256(is_small));
    result = _mm256_blendv_epi8(result, _mm256_set1_epi32(0x7f), _mm256_castps_si256(is_nan));
    const __m256i sign = _mm256_srli_epi32(_mm256_castps_si256(_mm256_and_ps(value, sign_bit)), 24);
    result = _mm256_or_si256(result, sign);
    const __m128i halves =
        _mm_packus_epi32(_mm256_castsi256_si128(result), _mm256_extracti128_si256(result, 1));
    const __m128i packed = _mm_packus_epi16(halves, halves);
    if (lanes == kWidth) {
      _mm_storel_epi64(reinterpret_cast<__m128i*>(to), packed);
      return;
    }
    // NOLINTNEXTLINE(modernize-avoid-c-arrays): see vector_kernels.h
    alignas(16) std::uint8_t copy[16];
    _mm_store_si128(reinterpret_cast<__m128i*>(copy), packed);
    for (int i = 0; i < lanes; ++i) to[i] = copy[i];
  }
};

}  // namespace

constinit const VectorKernels kVectorAvx2 = vector_kernels<Avx2>("avx2");

}  // namespace krasis::cpu
