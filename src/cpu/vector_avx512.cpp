// Compiled with -mavx512{f,bw,dq,vl}; see vector_kernels.h for what may be included here.
#include <immintrin.h>

#include "cpu/vector_templates.h"

namespace krasis::cpu {
namespace {

struct Avx512 {
  using Float = __m512;
  static constexpr int kWidth = 16;
  // Of 32 registers: sums of a tile, its weights, one operand.
  static constexpr int kOutputsOf1 = 8;
  static constexpr int kOutputsOf2 = 8;
  static constexpr int kOutputsOf3 = 6;
  static constexpr int kOutputsOf4 = 5;
  static constexpr int kValueVectors = 4;

  static Float zero() { return _mm512_setzero_ps(); }
  static Float set(float value) { return _mm512_set1_ps(value); }

  static __mmask16 first_lanes(int lanes) { return static_cast<__mmask16>((1U << lanes) - 1U); }
  static __m256i first_words(const std::uint16_t* words, int lanes) {
    return _mm256_maskz_loadu_epi16(first_lanes(lanes), words);
  }
  static __m256i words(const std::uint16_t* words) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(words));
  }
  static Float from_brain(__m256i words) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(words), 16));
  }

  // E4M3 bits are those of an F16 2^8 times smaller but for the sign, which extending repeats in
  // the bit behind it.
  static Float from_quarter(__m128i bytes) {
    const __m256i words = _mm256_slli_epi16(_mm256_cvtepi8_epi16(bytes), 7);
    const __m256i half = _mm256_and_si256(words, _mm256_set1_epi16(static_cast<short>(0xBF80)));
    const __m256i nan = _mm256_set1_epi16(0x3F80);
    const __mmask16 is_nan = _mm256_cmpeq_epi16_mask(_mm256_and_si256(half, nan), nan);
    const __m256i all = _mm256_mask_add_epi16(half, is_nan, half, _mm256_set1_epi16(0x4000));
    return _mm512_mul_ps(_mm512_cvtph_ps(all), _mm512_set1_ps(256));
  }

  static Float load(const float* from) { return _mm512_loadu_ps(from); }
  static Float load(const BrainBits* from) { return from_brain(words(&from->bits)); }
  static Float load(const HalfBits* from) { return _mm512_cvtph_ps(words(&from->bits)); }
  static Float load(const QuarterBits* from) {
    return from_quarter(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  }
  static Float load_first(const float* from, int lanes) {
    return _mm512_maskz_loadu_ps(first_lanes(lanes), from);
  }
  static Float load_first(const BrainBits* from, int lanes) {
    return from_brain(first_words(&from->bits, lanes));
  }
  static Float load_first(const HalfBits* from, int lanes) {
    return _mm512_cvtph_ps(first_words(&from->bits, lanes));
  }
  static Float load_first(const QuarterBits* from, int lanes) {
    return from_quarter(_mm_maskz_loadu_epi8(first_lanes(lanes), from));
  }
  static void store(float* to, Float value) { _mm512_storeu_ps(to, value); }
  static void store_first(float* to, Float value, int lanes) {
    _mm512_mask_storeu_ps(to, first_lanes(lanes), value);
  }

  static Float add(Float a, Float b) { return _mm512_add_ps(a, b); }
  static Float sub(Float a, Float b) { return _mm512_sub_ps(a, b); }
  static Float mul(Float a, Float b) { return _mm512_mul_ps(a, b); }
  static Float div(Float a, Float b) { return _mm512_div_ps(a, b); }
  static Float fma(Float a, Float b, Float c) { return _mm512_fmadd_ps(a, b, c); }
  static Float max(Float a, Float b) { return _mm512_max_ps(a, b); }
  static Float min(Float a, Float b) { return _mm512_min_ps(a, b); }
  static float root(float value) { return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(value))); }

  static __m256 halves(Float v) {
    return _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  }
  // Of each, with the halves added: ((0 + 1) + (2 + 3)) + ((4 + 5) + (6 + 7)).
  static __m128 four_sums(Float a, Float b, Float c, Float d) {
    const __m256 quarters =
        _mm256_hadd_ps(_mm256_hadd_ps(halves(a), halves(b)), _mm256_hadd_ps(halves(c), halves(d)));
    return _mm_add_ps(_mm256_castps256_ps128(quarters), _mm256_extractf128_ps(quarters, 1));
  }
  static void sum_four(Float a, Float b, Float c, Float d, float* sums) {
    _mm_storeu_ps(sums, four_sums(a, b, c, d));
  }
  static float sum(Float v) { return _mm_cvtss_f32(four_sums(v, v, v, v)); }
  static float largest(Float v) {
    const __m256 eight = _mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
  }

  static Float round(Float v) {
    return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  static Float power_of_two(Float n) {
    const __m512i exponent = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
    return _mm512_castsi512_ps(_mm512_slli_epi32(exponent, 23));
  }

  // To BF16, nearest even, NaN stays NaN.
  static void store_brain_first(std::uint16_t* to, Float value, int lanes) {
    const __m512i bits = _mm512_castps_si512(value);
    const __m512i odd = _mm512_and_epi32(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded =
        _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    const __mmask16 is_nan = _mm512_cmp_ps_mask(value, value, _CMP_UNORD_Q);
    const __m512i kept = _mm512_mask_or_epi32(rounded, is_nan, bits, _mm512_set1_epi32(0x400000));
    const __m256i packed = _mm512_cvtepi32_epi16(_mm512_srli_epi32(kept, 16));
    _mm256_mask_storeu_epi16(to, first_lanes(lanes), packed);
  }

  // To E4M3, as base/float8.h does it.
  static void store_quarter_first(std::uint8_t* to, Float value, int lanes) {
    const Float size = _mm512_abs_ps(value);
    const __m512i bits = _mm512_castps_si512(_mm512_min_ps(size, _mm512_set1_ps(448)));
    const __m512i odd = _mm512_and_epi32(_mm512_srli_epi32(bits, 20), _mm512_set1_epi32(1));
    const __m512i raised =
        _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7ffff)));
    const __m512i large =
        _mm512_sub_epi32(_mm512_srli_epi32(raised, 20), _mm512_set1_epi32(120 << 3));
    const Float units = _mm512_set1_ps(0x1p14F);  // whose last place is 2^-9
    const __m512i small = _mm512_sub_epi32(_mm512_castps_si512(_mm512_add_ps(size, units)),
                                           _mm512_castps_si512(units));
    const __mmask16 is_small = _mm512_cmp_ps_mask(size, _mm512_set1_ps(0x1p-6F), _CMP_LT_OQ);
    const __mmask16 is_nan = _mm512_cmp_ps_mask(value, value, _CMP_UNORD_Q);
    __m512i result = _mm512_mask_mov_epi32(large, is_small, small);
    result = _mm512_mask_mov_epi32(result, is_nan, _mm512_set1_epi32(0x7f));
    const __m512i sign = _mm512_srli_epi32(_mm512_castps_si512(value), 24);
    result = _mm512_or_epi32(result, _mm512_and_epi32(sign, _mm512_set1_epi32(0x80)));
    _mm_mask_storeu_epi8(to, first_lanes(lanes), _mm512_cvtepi32_epi8(result));
  }
};

}  // namespace

constinit const VectorKernels kVectorAvx512 = vector_kernels<Avx512>("avx512");

}  // namespace krasis::cpu
