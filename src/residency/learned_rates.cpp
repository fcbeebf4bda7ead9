#include "residency/learned_rates.h"

#include <algorithm>
#include <cmath>

namespace krasis {
namespace {

constexpr double kMemoryBytes = 4e9;  // some steps, or a good part of a prompt
constexpr double kFarthest = 4;       // that one observation may be off
constexpr double kNoticed = 1.03125;  // a change by so much
constexpr double kStepStart = 12e-6;  // threads that spin already
constexpr double kForgotten = 0.1;    // seconds as expected, in place of a third of the others

}  // namespace

MovingRate::MovingRate(double rate, double memory) : memory_(memory), shown_(rate) {
  if (rate <= 0) return;
  amount_ = memory / 4;  // what was measured first is soon forgotten
  seconds_ = amount_ / rate;
}

void MovingRate::observe(double amount, double seconds) {
  if (!(amount > 0 && seconds > 0)) return;
  if (amount_ > 0) {
    const double expected = amount * seconds_ / amount_;
    seconds = std::clamp(seconds, expected / kFarthest, expected * kFarthest);
  }
  const double kept = std::exp2(-amount / memory_);
  amount_ = amount_ * kept + amount;
  seconds_ = seconds_ * kept + seconds;
  observed_ = true;
  const double rate = amount_ / seconds_;
  if (rate > shown_ * kNoticed || rate < shown_ / kNoticed) shown_ = rate;
}

LearnedRates::LearnedRates(const ExpertPlacement& placement)
    : placement_(placement),
      processor_(placement.processor_rate, kMemoryBytes),
      link_(placement.link_rate, kMemoryBytes) {}

void LearnedRates::observe_processor(double bytes, double seconds, double calls) {
  if (placement_.adaptive) processor_.observe(bytes, seconds - calls * kStepStart);
}

void LearnedRates::observe_link(double bytes, double seconds) {
  if (placement_.adaptive) link_.observe(bytes, seconds);
}

void LearnedRates::observe_prompt(double seconds, double predicted, double factor) {
  if (!placement_.adaptive) return;
  prompts_.observe(predicted * factor, seconds);
  prompt_observed_ = true;
}

void LearnedRates::end_prompt() {
  if (placement_.adaptive && !prompt_observed_) prompts_.observe(kForgotten, kForgotten);
  prompt_observed_ = false;
}

StepCosts LearnedRates::step_costs(std::size_t expert_bytes) const {
  const auto bytes = static_cast<double>(expert_bytes);
  return {.link = link_.rate() > 0 ? bytes / link_.rate() : 0,
          .processor = processor_.rate() > 0 ? bytes / processor_.rate() : 0,
          .processor_start = kStepStart};
}

ExpertPlacement LearnedRates::for_prompts() const {
  ExpertPlacement placement = placement_;
  const double factor = prompts_.rate();
  placement.processor_rate = processor_.rate() * factor;
  // In steps memory gave this to both at once.
  if (link_.observed()) placement.memory_rate = processor_.rate() + link_.rate();
  placement.processor_token_seconds /= factor;
  return placement;
}

}  // namespace krasis
