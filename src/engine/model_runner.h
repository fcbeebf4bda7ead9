// A Model and its state as the engine's StepRunner.
#pragma once

#include "engine/step_runner.h"
#include "model/model.h"

namespace krasis {

class ModelRunner final : public StepRunner {
 public:
  // `model` outlives the runner.
  ModelRunner(Model& model, const StateSize& size)
      : model_(model), state_(model.spec(), size, model.memory()) {}

  std::int64_t vocab() const override { return model_.spec().vocab; }
  void forward(const Batch& batch, MutableRows logits) override {
    model_.forward(batch, state_, logits);
  }
  void forward_best(const Batch& batch, const BestLogits& best) override {
    model_.forward_best(batch, state_, best);
  }
  bool step_down() override;

 private:
  Model& model_;
  ModelState state_;
};

}  // namespace krasis
