#include "residency/hot_experts.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "base/error.h"

namespace krasis {
namespace {

// A copy costs as much of the link as a token that finds its expert absent, and what was hot may
// cool: who comes in must have been chosen clearly more often than who goes, and by more than
// chance explains. Heat is a sum of independent choices that fade, its variance half its mean; of
// thousands of pairs the farthest apart are looked at first.
constexpr float kRatio = 1.25F;
constexpr float kMargin = 2;
constexpr float kDeviations = 4;

bool is_worth_a_copy(float in, float out) {
  const float difference = in - out;
  return in > kRatio * out + kMargin &&
         difference * difference > kDeviations * kDeviations * (in + out) / 2;
}

// The first `most` experts in `order`.
template <class Order>
std::vector<std::size_t> best(std::vector<std::size_t> experts, std::size_t most, Order order) {
  const std::size_t count = std::min(most, experts.size());
  const auto end = experts.begin() + static_cast<std::ptrdiff_t>(count);
  std::ranges::partial_sort(experts, end, order);
  experts.resize(count);
  return experts;
}

}  // namespace

HotExperts::HotExperts(std::span<const std::int64_t> experts)
    : heat_(static_cast<std::size_t>(
          std::accumulate(experts.begin(), experts.end(), std::int64_t{0}))) {}

void HotExperts::observe(std::span<const std::uint32_t> counts, std::int64_t tokens) {
  ensure(counts.size() == heat_.size(), "hot experts: counts of other experts");
  if (tokens <= 0) return;
  const auto all = static_cast<double>(tokens);
  const auto left = static_cast<float>(std::exp2(-all / kHalfLifeTokens));
  const auto weight = static_cast<float>(std::min(1.0, kHalfLifeTokens / all));
  for (std::size_t e = 0; e < heat_.size(); ++e)
    heat_[e] = heat_[e] * left + static_cast<float>(counts[e]) * weight;
}

std::vector<HotExperts::Swap> HotExperts::swaps(std::span<const std::uint8_t> resident,
                                                std::size_t most) const {
  ensure(resident.size() == heat_.size(), "hot experts: residents among other experts");
  std::vector<std::size_t> residents, others;
  for (std::size_t e = 0; e < heat_.size(); ++e) {
    if (resident[e] == 1) residents.push_back(e);
    if (resident[e] == 0 && heat_[e] > kMargin) others.push_back(e);
  }
  // On a tie the lower number comes first, so that the same choices have the same consequences.
  const auto colder = [&](std::size_t a, std::size_t b) {
    return heat_[a] != heat_[b] ? heat_[a] < heat_[b] : a < b;
  };
  const auto hotter = [&](std::size_t a, std::size_t b) {
    return heat_[a] != heat_[b] ? heat_[a] > heat_[b] : a < b;
  };
  most = std::min({most, residents.size(), others.size()});
  residents = best(std::move(residents), most, colder);
  others = best(std::move(others), most, hotter);
  std::vector<Swap> swaps;
  for (std::size_t i = 0; i < most && is_worth_a_copy(heat_[others[i]], heat_[residents[i]]); ++i)
    swaps.push_back({others[i], residents[i]});
  return swaps;
}

void HotExperts::set_heat(std::span<const float> heat) {
  const bool fits = heat.size() == heat_.size() && std::ranges::all_of(heat, [](float value) {
                      return std::isfinite(value) && value >= 0;
                    });
  if (!fits) {
    throw Error(ErrorCode::InvalidArgument,
                "residency: the heat of " + std::to_string(heat.size()) +
                    " experts is not that of this model's " + std::to_string(heat_.size()));
  }
  heat_.assign(heat.begin(), heat.end());
}

}  // namespace krasis
