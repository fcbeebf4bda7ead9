// Steps that are repeated as graphs, with experts wherever they are: resident ones on the device;
// of the others a share that follows from the measured rates on the device too, which reads them in
// the program's memory; the rest on the processor, at the same time (mailbox.h).
#pragma once

#include <chrono>
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
  static constexpr std::chrono::milliseconds kPatience = std::chrono::seconds(10);

  // Throws Error(OutOfMemory), Error(Unsupported).
  explicit DecodeExperts(const PlacedContext& context,
                         std::chrono::milliseconds patience = kPatience);

  // Queues the op, and unless it is captured, computes the processor's part of it. The routing is
  // counted in `counts` [experts], unless that is null.
  void run(const Experts& op, unsigned* counts, const Launch& launch);

  void begin_capture() override;
  std::function<void()> end_capture() override;

  // After the end of a step: throws Error(Device) if the device has waited for the processor in
  // vain; the step's results are worth nothing then.
  void check_answers();

  DecodePairs pairs() const { return pairs_; }

 private:
  // The processor's part of one question.
  struct Job {
    int layer;
    std::int64_t tokens, top_k;
  };
  Job queue(const Experts& op, unsigned* counts, const Launch& launch);
  void compute(std::span<const Job> jobs);

  const PlacedContext& context_;
  Mailbox mailbox_;
  float link_share_;
  DecodePairs pairs_;
  bool capturing_ = false;
  std::vector<Job> captured_;
};

}  // namespace krasis::cuda
