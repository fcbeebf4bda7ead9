// A Model and its state as the engine's StepRunner.
#pragma once

#include "engine/step_runner.h"
#include "model/model.h"

namespace krasis {

class ModelRunner final : public StepRunner {
 public:
  // `model` outlives the runner.
  ModelRunner(Model& model, const StateSize& size)
      : model_(model),
        state_(model.spec(), size, model.memory()),
        most_part_tokens_(model.part_tokens()) {}

  std::int64_t vocab() const override { return model_.spec().vocab; }
  void forward(const Batch& batch, MutableRows logits) override {
    model_.forward(batch, state_, logits);
  }
  void forward_best(const Batch& batch, const BestLogits& best) override {
    model_.forward_best(batch, state_, best);
  }
  // Parts of half the tokens; never so few that a step of writing has more than one.
  void step_down(std::int64_t tokens) override;
  void step_up() override { model_.set_part_tokens(most_part_tokens_); }

 private:
  Model& model_;
  ModelState state_;
  const std::int64_t most_part_tokens_;
};

}  // namespace krasis
