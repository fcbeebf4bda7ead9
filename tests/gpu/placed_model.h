// A reference model on the device whose INT4 experts stay in the program's memory.
#pragma once

#include <memory>
#include <string>

#include "gpu/device.h"
#include "model/loaded_model.h"
#include "weights/placed_experts.h"

namespace krasis::test {

constexpr DenseFormats kPlacedFormats = {.attention = DenseFormat::Int8,
                                         .shared_expert = DenseFormat::Int8,
                                         .dense_mlp = DenseFormat::Int8,
                                         .lm_head = DenseFormat::Int8};

constexpr std::size_t kScratchBytes = std::size_t{128} << 20;

class PlacedModel {
 public:
  // processor: nullptr, or who computes experts in the program's memory.
  explicit PlacedModel(const std::string& name, const ExpertPlacement& placement,
                       std::int64_t part_tokens = Model::kPartTokens,
                       const cuda::DeviceOptions& options = {.scratch_bytes = kScratchBytes},
                       Ops* processor = nullptr)
      : processor_("cpu"),
        ops_(make_device_ops(options)),
        loaded_(
            reference_model_dir(name), *ops_, kPlacedFormats,
            [&](const ModelDescription& model, TensorSource& source) {
              return place(model, source, placement,
                           processor != nullptr ? *processor : processor_.ops());
            },
            part_tokens) {}

  LoadedModel& loaded() { return loaded_; }
  const Ops& ops() const { return *ops_; }
  Ops& ops() { return *ops_; }

 private:
  std::unique_ptr<ExpertStore> place(const ModelDescription& model, TensorSource& source,
                                     const ExpertPlacement& placement, Ops& processor) {
    arena_ = load_experts(model, source, 4, host_memory());
    const auto layers = sparse_expert_layers(model.spec, *arena_);
    return make_placed_experts(model.spec,
                               cuda::place_experts(*ops_, layers, placement, processor));
  }

  Backend processor_;
  std::unique_ptr<ExpertStore> arena_;
  std::unique_ptr<Ops> ops_;
  LoadedModel loaded_;
};

}  // namespace krasis::test
