// What the engine asks of a model: run one step's tokens. One thread drives it.
#pragma once

#include <cstdint>

#include "model/batch.h"
#include "model/model.h"
#include "tensor/tensor.h"

namespace krasis {

class StepRunner {
 public:
  StepRunner() = default;
  StepRunner(const StepRunner&) = delete;
  StepRunner& operator=(const StepRunner&) = delete;
  virtual ~StepRunner() = default;

  virtual std::int64_t vocab() const = 0;

  // Afterwards the caches hold the batch's tokens, in the pages and slots that its segments name.
  // logits: [batch.logit_rows.size(), vocab()]. A segment with past == 0 begins a sequence,
  // whatever its slot held before. May throw: after Error(OutOfMemory) the engine begins the
  // sequences again with smaller steps while there are any, else it gives those of this batch up.
  virtual void forward(const Batch& batch, MutableRows logits) = 0;

  // As forward(), but each row's highest logits are all that is wanted (ops/top_logits.h).
  virtual void forward_best(const Batch& batch, const BestLogits& best) = 0;

  // A step of so many tokens found no memory: gives back what is kept only to be faster, and makes
  // later steps need less where that is up to the runner.
  virtual void step_down(std::int64_t /*tokens*/) {}
  // Steps may need as much as at first again.
  virtual void step_up() {}
};

}  // namespace krasis
