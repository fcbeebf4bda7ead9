#include <algorithm>
#include <array>
#include <cmath>

#include "base/float16.h"
#include "quant/quantizer_rows.h"

namespace krasis::quant {
namespace {

constexpr int kLanes = 8;
using Lanes = std::array<float, kLanes>;

struct Range {
  float lowest, highest;
  int candidates;
  const float* divisors;
};

Range range_of(int bits) {
  if (bits == 4) return {-8, 7, kCandidates, kDivisors4};
  return {-127, 127, kCandidates8, kDivisors8};
}

float sum(const Lanes& l) {
  return ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7]));
}

float quantized(float weight, float inverse, const Range& range) {
  return std::min(std::max(std::nearbyint(weight * inverse), range.lowest), range.highest);
}

struct Group {
  const float* weights;
  const float* importance;
  int size;
};

float error_of(const Group& group, float scale, const Range& range) {
  const float inverse = 1.0F / scale;
  Lanes lanes{};
  for (int i = 0; i < group.size; ++i) {
    const float w = group.weights[i];
    const float e = std::fma(-scale, quantized(w, inverse, range), w);
    const float weighted = group.importance == nullptr ? e : group.importance[i] * e;
    float& lane = lanes[static_cast<std::size_t>(i % kLanes)];
    lane = std::fma(weighted, e, lane);
  }
  return sum(lanes);
}

// The scale with the least error for the q that `scale` gives.
float fitted_scale(const Group& group, float scale, const Range& range) {
  const float inverse = 1.0F / scale;
  Lanes products{};
  Lanes squares{};
  for (int i = 0; i < group.size; ++i) {
    const float q = quantized(group.weights[i], inverse, range);
    const float weighted = group.importance == nullptr ? q : group.importance[i] * q;
    const auto lane = static_cast<std::size_t>(i % kLanes);
    products[lane] = std::fma(weighted, group.weights[i], products[lane]);
    squares[lane] = std::fma(weighted, q, squares[lane]);
  }
  const float square = sum(squares);
  return square > 0 ? to_float(to_bf16(sum(products) / square)) : 0;
}

float searched_scale(const Group& group, float extreme, const Range& range) {
  float best = 0;
  float least = INFINITY;
  for (int c = 0; c < range.candidates; ++c) {
    const float scale = to_float(to_bf16(-extreme / range.divisors[c]));
    const float error = error_of(group, scale, range);
    if (c == 0 || error < least) {
      best = scale;
      least = error;
    }
  }
  for (int round = 0; round < kFits; ++round) {
    const float scale = fitted_scale(group, best, range);
    if (std::abs(scale) < kSmallestScale) break;
    const float error = error_of(group, scale, range);
    if (!(error < least)) break;
    best = scale;
    least = error;
  }
  return best;
}

}  // namespace

bool quantize_row_scalar(const QuantizeRow& job) {
  const Range range = range_of(job.bits);
  for (std::int64_t first = 0; first < job.columns; first += job.group) {
    const float* weights = job.weights + first;
    const float* importance = job.importance == nullptr ? nullptr : job.importance + first;
    std::int8_t* q = job.q + first;
    float high = weights[0];
    float low = weights[0];
    for (int i = 0; i < job.group; ++i) {
      if (!std::isfinite(weights[i])) return false;
      high = std::max(high, weights[i]);
      low = std::min(low, weights[i]);
    }
    const float extreme = high >= -low ? high : low;
    float scale = 0;
    float inverse = 0;
    if (std::abs(extreme) >= kSmallestWeight) {
      scale = job.search ? searched_scale({weights, importance, job.group}, extreme, range)
                         : to_float(to_bf16(std::abs(extreme) / range.highest));
      inverse = 1.0F / scale;
    }
    job.scales[first / job.group] = to_bf16(scale).bits;
    for (int i = 0; i < job.group; ++i)
      q[i] = static_cast<std::int8_t>(quantized(weights[i], inverse, range));
  }
  return true;
}

void widen_bf16_scalar(const std::uint16_t* from, std::int64_t count, float* to) {
  for (std::int64_t i = 0; i < count; ++i) to[i] = to_float(bf16{from[i]});
}

void widen_f16_scalar(const std::uint16_t* from, std::int64_t count, float* to) {
  for (std::int64_t i = 0; i < count; ++i) to[i] = to_float(f16{from[i]});
}

}  // namespace krasis::quant
