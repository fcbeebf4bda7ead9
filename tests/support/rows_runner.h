// A step runner for tests that makes whole rows of logits; the highest are picked from them.
#pragma once

#include <vector>

#include "engine/step_runner.h"

namespace krasis::test {

class RowsRunner : public StepRunner {
 public:
  void forward_best(const Batch& batch, const BestLogits& best) override {
    const std::int64_t rows = std::ssize(batch.logit_rows);
    std::vector<float> values(static_cast<std::size_t>(rows * vocab()));
    const MutableRows logits(values.data(), rows, vocab());
    forward(batch, logits);
    make_reference_ops()->top_logits(
        {.logits = logits, .count = best.count, .ids = best.ids, .values = best.values});
  }
};

}  // namespace krasis::test
