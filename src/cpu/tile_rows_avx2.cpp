// Compiled with -mavx2 -mfma; see tile_kernels.h for what may be included here.
#include <immintrin.h>

#include "cpu/tile_kernels.h"

namespace krasis::cpu {
namespace {

constexpr int kLanes = 8;

__m256i load_mask(std::int64_t count) {
  const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const int limit = count > kLanes ? kLanes : count < 0 ? 0 : static_cast<int>(count);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(limit), index);
}

// Elements k..k+7 of the row, zeros behind its end.
__m256 load(const TileActivations& job, std::int64_t k) {
  if (k + kLanes <= job.columns) return _mm256_loadu_ps(job.x + k);
  return _mm256_maskload_ps(job.x + k, load_mask(job.columns - k));
}

// The largest magnitude's bits: as integers they order infinities and NaNs above every number.
std::int32_t largest_bits(const TileActivations& job, std::int64_t first) {
  const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
  __m256i largest = _mm256_setzero_si256();
  for (std::int64_t k = first; k < first + job.group; k += kLanes) {
    largest =
        _mm256_max_epi32(largest, _mm256_and_si256(_mm256_castps_si256(load(job, k)), magnitude));
  }
  __m128i four =
      _mm_max_epi32(_mm256_castsi256_si128(largest), _mm256_extracti128_si256(largest, 1));
  four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0xb1));
  return _mm_cvtsi128_si32(four);
}

__m128i quantize8(const TileActivations& job, std::int64_t k, __m256 inverse) {
  const __m256i q = _mm256_cvtps_epi32(_mm256_mul_ps(load(job, k), inverse));
  return _mm_packs_epi32(_mm256_castsi256_si128(q), _mm256_extracti128_si256(q, 1));
}

std::int32_t quantize_group(const TileActivations& job, std::int64_t first, float scale) {
  const __m128i order = _mm_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
  const __m256 inverse = _mm256_set1_ps(scale);
  __m128i sums = _mm_setzero_si128();
  for (std::int64_t k = first; k < first + job.group; k += 2 * kLanes) {
    const __m128i q =
        _mm_packs_epi16(quantize8(job, k, inverse), quantize8(job, k + kLanes, inverse));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(job.q + k), _mm_shuffle_epi8(q, order));
    const __m128i pairs = _mm_maddubs_epi16(_mm_set1_epi8(1), q);
    sums = _mm_add_epi32(sums, _mm_madd_epi16(pairs, _mm_set1_epi16(1)));
  }
  sums = _mm_add_epi32(sums, _mm_shuffle_epi32(sums, 0x4e));
  sums = _mm_add_epi32(sums, _mm_shuffle_epi32(sums, 0xb1));
  return _mm_cvtsi128_si32(sums);
}

void clear_group(const TileActivations& job, std::int64_t first) {
  for (std::int64_t k = first; k < first + job.group; k += 16)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(job.q + k), _mm_setzero_si128());
}

}  // namespace

void tile_activations_avx2(const TileActivations& job) {
  constexpr std::int32_t kInfinity = 0x7f800000;
  for (std::int64_t first = 0; first < job.padded; first += job.group) {
    const std::int64_t g = first / job.group;
    const std::int32_t bits = largest_bits(job, first);
    const float largest = _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(bits)));
    if (bits >= kInfinity || largest < kTinyActivation) {
      const std::int32_t scale = bits >= kInfinity ? 0x7fc00000 : 0;
      job.scales[g] = _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(scale)));
      job.offsets[g] = 0;
      clear_group(job, first);
      continue;
    }
    job.scales[g] = largest / 127.0F;
    job.offsets[g] = quantize_group(job, first, 127.0F / largest) * job.weight_offset;
  }
}

void weighted_sum_avx2(const WeightedSum& job) {
  std::int64_t c = 0;
  for (; c + 4 * kLanes <= job.columns; c += 4 * kLanes) {
    __m256 sums[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(),
                      _mm256_setzero_ps()};
    for (std::int64_t j = 0; j < job.terms; ++j) {
      const float* part = job.parts + j * job.stride + c;
      const __m256 weight = _mm256_broadcast_ss(job.weights + j);
      for (int v = 0; v < 4; ++v)
        sums[v] = _mm256_fmadd_ps(weight, _mm256_loadu_ps(part + v * kLanes), sums[v]);
    }
    for (int v = 0; v < 4; ++v) _mm256_storeu_ps(job.out + c + v * kLanes, sums[v]);
  }
  for (; c < job.columns; c += kLanes) {
    const __m256i mask = load_mask(job.columns - c);
    __m256 sum = _mm256_setzero_ps();
    for (std::int64_t j = 0; j < job.terms; ++j) {
      sum = _mm256_fmadd_ps(_mm256_broadcast_ss(job.weights + j),
                            _mm256_maskload_ps(job.parts + j * job.stride + c, mask), sum);
    }
    _mm256_maskstore_ps(job.out + c, mask, sum);
  }
}

}  // namespace krasis::cpu
