#include "engine/distribution.h"

#include <algorithm>
#include <array>
#include <bit>

namespace krasis {
namespace {

constexpr std::size_t kBlock = 256;  // two levels of sums: 150,000 values in 586 blocks
constexpr std::size_t kLanes = 8;    // partial sums, so that the compiler may use vectors

constexpr float kLowest = -88;  // exp_of_negative gives 0

// exp(x) for kLowest <= x <= 0: x = n ln 2 + r, |r| <= ln 2 / 2, Taylor to r^7 (remainder below
// 6e-9), 2^n by the exponent's bits, which are 0 for n = -127: below exp(-87.7) the answer is 0.
// Without branches: the compiler makes vectors of it, which std::exp prevents.
float exp_of_negative(float x) {
  const auto n = static_cast<std::int32_t>(x * 1.44269504F - 0.5F);
  const auto whole = static_cast<float>(n);
  const float r = (x - whole * 0.693359375F) + whole * 2.12194440e-4F;
  float y = 1.98412698e-4F;
  y = y * r + 1.38888889e-3F;
  y = y * r + 8.33333333e-3F;
  y = y * r + 4.16666667e-2F;
  y = y * r + 1.66666667e-1F;
  y = y * r + 0.5F;
  y = y * r + 1.0F;
  y = y * r + 1.0F;
  return y * std::bit_cast<float>((n + 127) << 23);
}

template <class Keep>
double sum_if(std::span<const float> weights, Keep keep) {
  std::array<float, kLanes> lanes{};
  std::size_t i = 0;
  for (; i + kLanes <= weights.size(); i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const float weight = weights[i + lane];
      lanes[lane] += keep(weight) ? weight : 0.0F;
    }
  }
  double sum = 0;
  for (; i < weights.size(); ++i) sum += keep(weights[i]) ? weights[i] : 0.0F;
  for (const float lane : lanes) sum += lane;
  return sum;
}

template <class Visit>
void for_each_block(std::size_t size, Visit visit) {
  for (std::size_t first = 0; first < size; first += kBlock)
    visit(first, std::min(kBlock, size - first));
}

}  // namespace

void Distribution::assign(std::span<const float> logits, float highest, float temperature) {
  weights_.resize(logits.size());
  const float scale = 1 / temperature;
  if (scale <= std::numeric_limits<float>::max()) {
    for (std::size_t i = 0; i < logits.size(); ++i) {
      const float exponent = (logits[i] - highest) * scale;
      weights_[i] = exponent < kLowest ? kLowest : exponent;
    }
    for (float& weight : weights_) weight = exp_of_negative(weight);
  } else {  // 1 / temperature overflows: only the highest are left
    for (std::size_t i = 0; i < logits.size(); ++i)
      weights_[i] = logits[i] == highest ? 1.0F : 0.0F;
  }
  sum_blocks();
}

void Distribution::sum_blocks() {
  block_sums_.clear();
  total_ = 0;
  for_each_block(weights_.size(), [&](std::size_t first, std::size_t count) {
    block_sums_.push_back(
        sum_if(std::span(weights_).subspan(first, count), [](float) { return true; }));
    total_ += block_sums_.back();
  });
}

std::size_t Distribution::draw(double top_p, float min_p, RandomBits& random) {
  const double enough = top_p * total_;
  if (min_p > 0) {
    for (float& weight : weights_) weight = weight < min_p ? 0.0F : weight;
    sum_blocks();
  }
  for (;;) {
    const double uniform = static_cast<double>(random() >> 11) * 0x1p-53;
    const std::size_t index = pick(uniform * total_);
    if (top_p >= 1 || weight_before(index) < enough) return index;
    keep_before(index);
  }
}

std::size_t Distribution::pick(double target) const {
  std::size_t block = 0;
  while (block + 1 < block_sums_.size() && target >= block_sums_[block])
    target -= block_sums_[block++];
  // Rounding may leave the target behind the last weight of its block: then the last one that has
  // any weight, in this block or before it.
  const std::size_t last = std::min(weights_.size(), (block + 1) * kBlock);
  for (std::size_t i = block * kBlock; i < last; ++i) {
    if (target < weights_[i]) return i;
    target -= weights_[i];
  }
  std::size_t index = last - 1;
  while (index > 0 && weights_[index] == 0) --index;
  return index;
}

double Distribution::weight_before(std::size_t index) const {
  const float weight = weights_[index];
  double sum = 0;
  for_each_block(index, [&](std::size_t first, std::size_t count) {
    sum += sum_if(std::span(weights_).subspan(first, count),
                  [weight](float other) { return other >= weight; });
  });
  const auto behind = std::span(weights_).subspan(index);
  for_each_block(behind.size(), [&](std::size_t first, std::size_t count) {
    sum += sum_if(behind.subspan(first, count), [weight](float other) { return other > weight; });
  });
  return sum;
}

void Distribution::keep_before(std::size_t index) {
  const float weight = weights_[index];
  for (std::size_t i = 0; i < index; ++i) weights_[i] = weights_[i] >= weight ? weights_[i] : 0.0F;
  for (std::size_t i = index; i < weights_.size(); ++i)
    weights_[i] = weights_[i] > weight ? weights_[i] : 0.0F;
  sum_blocks();
}

}  // namespace krasis
