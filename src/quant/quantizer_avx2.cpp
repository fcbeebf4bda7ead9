// Compiled with -mavx2 -mfma -mf16c; see quantizer_rows.h for what may be included here.
#include <immintrin.h>

#include "quant/quantizer_rows.h"

namespace krasis::quant {
namespace {

constexpr int kLanes = 8;
constexpr int kAtOnce = 4;  // candidates whose errors are summed together: hides the latency

struct Range {
  __m256 lowest, highest;
  int candidates;
  const float* divisors;
};

Range range_of(int bits) {
  if (bits == 4) return {_mm256_set1_ps(-8), _mm256_set1_ps(7), kCandidates, kDivisors4};
  return {_mm256_set1_ps(-127), _mm256_set1_ps(127), kCandidates8, kDivisors8};
}

float sum(__m256 v) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

// Rounded to BF16 and back; the numbers are finite.
__m256 round_to_bf16(__m256 v) {
  const __m256i bits = _mm256_castps_si256(v);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
  return _mm256_castsi256_ps(
      _mm256_and_si256(rounded, _mm256_set1_epi32(static_cast<int>(0xffff0000U))));
}

float round_to_bf16(float value) {
  return _mm256_cvtss_f32(round_to_bf16(_mm256_set1_ps(value)));
}

__m256 quantized(__m256 weight, __m256 inverse, const Range& range) {
  const __m256 rounded = _mm256_round_ps(_mm256_mul_ps(weight, inverse),
                                         _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  return _mm256_min_ps(_mm256_max_ps(rounded, range.lowest), range.highest);
}

struct Group {
  const float* weights;
  const float* importance;
  int size;
};

template <int N, bool kWeighted>
void errors_of(const Group& group, const float* scales, const Range& range, float* errors) {
  __m256 scale[N];
  __m256 inverse[N];
  __m256 lanes[N];
  for (int n = 0; n < N; ++n) {
    scale[n] = _mm256_set1_ps(scales[n]);
    inverse[n] = _mm256_div_ps(_mm256_set1_ps(1.0F), scale[n]);
    lanes[n] = _mm256_setzero_ps();
  }
  for (int i = 0; i < group.size; i += kLanes) {
    const __m256 w = _mm256_loadu_ps(group.weights + i);
    const __m256 cost = kWeighted ? _mm256_loadu_ps(group.importance + i) : w;
    for (int n = 0; n < N; ++n) {
      const __m256 e = _mm256_fnmadd_ps(scale[n], quantized(w, inverse[n], range), w);
      lanes[n] = _mm256_fmadd_ps(kWeighted ? _mm256_mul_ps(cost, e) : e, e, lanes[n]);
    }
  }
  for (int n = 0; n < N; ++n) errors[n] = sum(lanes[n]);
}

template <bool kWeighted>
float fitted_scale(const Group& group, float scale, const Range& range) {
  const __m256 inverse = _mm256_div_ps(_mm256_set1_ps(1.0F), _mm256_set1_ps(scale));
  __m256 products = _mm256_setzero_ps();
  __m256 squares = _mm256_setzero_ps();
  for (int i = 0; i < group.size; i += kLanes) {
    const __m256 w = _mm256_loadu_ps(group.weights + i);
    const __m256 q = quantized(w, inverse, range);
    const __m256 weighted = kWeighted ? _mm256_mul_ps(_mm256_loadu_ps(group.importance + i), q) : q;
    products = _mm256_fmadd_ps(weighted, w, products);
    squares = _mm256_fmadd_ps(weighted, q, squares);
  }
  const float square = sum(squares);
  return square > 0 ? round_to_bf16(sum(products) / square) : 0;
}

float magnitude(float value) {
  return value < 0 ? -value : value;
}

template <bool kWeighted>
float searched_scale(const Group& group, float extreme, const Range& range) {
  alignas(32) float scales[kCandidates];
  for (int c = 0; c < range.candidates; c += kLanes) {
    _mm256_store_ps(scales + c, round_to_bf16(_mm256_div_ps(_mm256_set1_ps(-extreme),
                                                            _mm256_loadu_ps(range.divisors + c))));
  }
  float best = 0;
  float least = 0;
  for (int c = 0; c < range.candidates; c += kAtOnce) {
    float errors[kAtOnce];
    errors_of<kAtOnce, kWeighted>(group, scales + c, range, errors);
    for (int n = 0; n < kAtOnce; ++n) {
      if (c + n != 0 && !(errors[n] < least)) continue;
      best = scales[c + n];
      least = errors[n];
    }
  }
  for (int round = 0; round < kFits; ++round) {
    const float scale = fitted_scale<kWeighted>(group, best, range);
    if (magnitude(scale) < kSmallestScale) break;
    float error = 0;
    errors_of<1, kWeighted>(group, &scale, range, &error);
    if (!(error < least)) break;
    best = scale;
    least = error;
  }
  return best;
}

// The weight of the largest magnitude; false if one is not finite.
bool find_extreme(const float* weights, int size, float* extreme) {
  __m256 high = _mm256_loadu_ps(weights);
  __m256 low = high;
  __m256i largest = _mm256_setzero_si256();
  for (int i = 0; i < size; i += kLanes) {
    const __m256 w = _mm256_loadu_ps(weights + i);
    high = _mm256_max_ps(high, w);
    low = _mm256_min_ps(low, w);
    largest = _mm256_max_epi32(
        largest, _mm256_and_si256(_mm256_castps_si256(w), _mm256_set1_epi32(0x7fffffff)));
  }
  const __m256i beyond = _mm256_cmpgt_epi32(largest, _mm256_set1_epi32(0x7f7fffff));
  if (_mm256_testz_si256(beyond, beyond) == 0) return false;
  alignas(32) float highs[kLanes];
  alignas(32) float lows[kLanes];
  _mm256_store_ps(highs, high);
  _mm256_store_ps(lows, low);
  float most = highs[0];
  float fewest = lows[0];
  for (int i = 1; i < kLanes; ++i) {
    most = highs[i] > most ? highs[i] : most;
    fewest = lows[i] < fewest ? lows[i] : fewest;
  }
  *extreme = most >= -fewest ? most : fewest;
  return true;
}

void store_quantized(const float* weights, int size, float scale, const Range& range,
                     std::int8_t* q) {
  const __m256 inverse = _mm256_set1_ps(scale == 0 ? 0 : 1.0F / scale);
  for (int i = 0; i < size; i += kLanes) {
    const __m256i v = _mm256_cvtps_epi32(quantized(_mm256_loadu_ps(weights + i), inverse, range));
    const __m128i words =
        _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(q + i), _mm_packs_epi16(words, words));
  }
}

}  // namespace

bool quantize_row_avx2(const QuantizeRow& job) {
  const Range range = range_of(job.bits);
  const float highest = _mm256_cvtss_f32(range.highest);
  for (std::int64_t first = 0; first < job.columns; first += job.group) {
    const float* weights = job.weights + first;
    float extreme = 0;
    if (!find_extreme(weights, job.group, &extreme)) return false;
    float scale = 0;
    if (magnitude(extreme) >= kSmallestWeight) {
      if (!job.search) {
        scale = round_to_bf16(magnitude(extreme) / highest);
      } else if (job.importance == nullptr) {
        scale = searched_scale<false>({weights, nullptr, job.group}, extreme, range);
      } else {
        scale = searched_scale<true>({weights, job.importance + first, job.group}, extreme, range);
      }
    }
    job.scales[first / job.group] = static_cast<std::uint16_t>(
        static_cast<std::uint32_t>(_mm_cvtsi128_si32(_mm_castps_si128(_mm_set_ss(scale)))) >> 16);
    store_quantized(weights, job.group, scale, range, job.q + first);
  }
  return true;
}

void widen_bf16_avx2(const std::uint16_t* from, std::int64_t count, float* to) {
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const __m128i narrow = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i));
    const __m256i wide = _mm256_slli_epi32(_mm256_cvtepu16_epi32(narrow), 16);
    _mm256_storeu_ps(to + i, _mm256_castsi256_ps(wide));
  }
  if (i < count) widen_bf16_scalar(from + i, count - i, to + i);
}

void widen_f16_avx2(const std::uint16_t* from, std::int64_t count, float* to) {
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const __m128i narrow = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i));
    _mm256_storeu_ps(to + i, _mm256_cvtph_ps(narrow));
  }
  if (i < count) widen_f16_scalar(from + i, count - i, to + i);
}

}  // namespace krasis::quant
