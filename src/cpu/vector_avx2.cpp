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

  static Float load(const float* from) { return _mm256_loadu_ps(from); }
  static Float load(const BrainBits* from) { return from_brain(words(&from->bits)); }
  static Float load(const HalfBits* from) { return _mm256_cvtph_ps(words(&from->bits)); }
  static Float load_first(const float* from, int lanes) {
    return _mm256_maskload_ps(from, first_lanes(lanes));
  }
  static Float load_first(const BrainBits* from, int lanes) {
    return from_brain(first_words(&from->bits, lanes));
  }
  static Float load_first(const HalfBits* from, int lanes) {
    return _mm256_cvtph_ps(first_words(&from->bits, lanes));
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
};

}  // namespace

constinit const VectorKernels kVectorAvx2 = vector_kernels<Avx2>("avx2");

}  // namespace krasis::cpu
