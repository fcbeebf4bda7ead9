// What link and processor turn out to give while they compute experts. What was measured at the
// start may be off by a factor: memory that a machine touches for the first time is slow, and a
// shared one changes its mind.
#pragma once

#include <algorithm>
#include <cstddef>

#include "residency/placement.h"

namespace krasis {

// Of something that takes time: the mean over about the last `memory` of it, where one observation
// counts for no more than a factor of four off. rate() changes only by more than a thirty-second,
// so that what is decided by it mostly stays while little changes.
class MovingRate {
 public:
  // 0: not known; it stays so until it is observed.
  MovingRate(double rate, double memory);

  // `amount` in `seconds`; nothing if either is not positive.
  void observe(double amount, double seconds);
  double rate() const { return shown_; }
  bool observed() const { return observed_; }

 private:
  double memory_;
  double amount_ = 0, seconds_ = 0;  // decayed sums
  double shown_;
  bool observed_ = false;
};

// Seconds that an expert of few tokens takes while a step is computed.
struct StepCosts {
  double link = 0;             // by the device, where it lies; 0: it does not read it there
  double processor = 0;        // 0: not known
  double processor_start = 0;  // before the first and after the last one

  friend bool operator==(const StepCosts&, const StepCosts&) = default;
};

class LearnedRates {
 public:
  // Begins with the placement's rates, and stays there unless it is adaptive.
  explicit LearnedRates(const ExpertPlacement& placement);

  // Experts of steps: so many bytes of them in so many seconds. The processor's seconds with what
  // waking its threads takes, `calls` times.
  void observe_processor(double bytes, double seconds, double calls);
  void observe_link(double bytes, double seconds);
  // The processor's part of a layer of a prompt, beside what for_prompts() predicted when
  // prompt_factor() was `factor`.
  void observe_prompt(double seconds, double predicted, double factor);
  // A prompt is over. If the processor had no part in it, what was learned of that is worth less,
  // or a slow spell would keep it out for good.
  void end_prompt();

  StepCosts step_costs(std::size_t expert_bytes) const;
  // The placement with what is known now of rates for prompts.
  ExpertPlacement for_prompts() const;
  // By how much the processor is faster at prompts than its rate at steps says.
  double prompt_factor() const { return prompts_.rate(); }

 private:
  ExpertPlacement placement_;
  MovingRate processor_, link_;
  MovingRate prompts_{1, 0.2};  // predicted seconds a second
  bool prompt_observed_ = false;
};

// How many of `missing` experts the device reads over the link so that the later one of both ends
// first; one more only for a tenth less time, as it slows down who reads memory beside it. Without
// either cost: none.
constexpr int experts_by_link(int missing, const StepCosts& costs) {
  if (costs.link <= 0 || costs.processor <= 0) return 0;
  const double even =
      (costs.processor_start + missing * costs.processor) / (costs.link + costs.processor);
  const int few = static_cast<int>(std::min(even, static_cast<double>(missing)));
  if (few == missing) return missing;
  const double if_few = costs.processor_start + (missing - few) * costs.processor;
  return (few + 1) * costs.link < 0.9 * if_few ? few + 1 : few;
}

}  // namespace krasis
