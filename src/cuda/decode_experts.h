// Steps that are repeated as graphs, with experts wherever they are: resident ones on the device;
// of the others a share that follows from the measured rates on the device too, which reads them in
// the program's memory; the rest on the processor, at the same time (mailbox.h).
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "cuda/devices.h"
#include "cuda/launch.h"
#include "cuda/mailbox.h"
#include "cuda/step_graphs.h"
#include "ops/ops.h"

namespace krasis::cuda {

struct PlacedContext;

class DecodeExperts final : public StepPartner {
 public:
  // Throws Error(OutOfMemory), Error(Unsupported).
  explicit DecodeExperts(const PlacedContext& context);

  // Queues the op, and unless it is captured, computes the processor's part of it. The routing is
  // counted in `counts` [experts], unless that is null.
  void run(const Experts& op, unsigned* counts, const Launch& launch);

  void begin_capture() override;
  std::function<void()> end_capture() override;

  // Before a step is queued: looks at how long the last ones took.
  void begin_step();

  // After the end of a step: throws Error(Device) if the device has waited for the processor in
  // vain; the step's results are worth nothing then.
  void check_answers();

  DecodePairs pairs() const { return pairs_; }
  DecodeTimes times() const;

 private:
  // The processor's part of one question.
  struct Job {
    int layer;
    std::int64_t tokens, top_k;
  };
  Job queue(const Experts& op, unsigned* counts, const Launch& launch);
  void compute(std::span<const Job> jobs);
  std::size_t experts_asked_for(std::int64_t experts);  // of the processor

  const PlacedContext& context_;
  Mailbox mailbox_;
  StepCosts costs_;  // that the mailbox has
  DecodePairs pairs_;
  // Of the processor so far, and what the rates know of it and of the device's times.
  struct Work {
    double bytes = 0, seconds = 0, calls = 0;
  };
  Work work_, known_work_;
  std::vector<std::int32_t> ids_;   // [pairs] of a question, as they were when it was asked
  std::vector<float> weights_;      // the same
  std::vector<std::uint8_t> seen_;  // [experts] those of it
  MailboxTimes known_times_;
  bool capturing_ = false;
  std::vector<Job> captured_;
};

}  // namespace krasis::cuda
