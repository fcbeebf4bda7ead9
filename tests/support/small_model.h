// A model folder that a test makes for itself: one dense and two sparse layers whose sizes all need
// padding, random BF16 experts.
#pragma once

#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "arch/architecture.h"
#include "base/file.h"
#include "formats/safetensors.h"
#include "support/temporary_folder.h"
#include "weights/tensor_source.h"

namespace krasis::test {

class SmallModel {
 public:
  static constexpr std::int64_t kHidden = 72, kIntermediate = 40, kExperts = 3;

  explicit SmallModel(const std::filesystem::path& parent = std::filesystem::temp_directory_path())
      : folder_(parent) {
    static const std::vector<TensorRule> rules = {
        {Role::ExpertGate, "layers.{L}.experts.{E}.gate.weight"},
        {Role::ExpertUp, "layers.{L}.experts.{E}.up.weight"},
        {Role::ExpertDown, "layers.{L}.experts.{E}.down.weight"}};
    architecture_.tensors = rules;
    description_.architecture = &architecture_;
    description_.spec.hidden = kHidden;
    SparseFfn sparse;
    sparse.intermediate = kIntermediate;
    sparse.routing.experts = kExperts;
    description_.spec.layers = {{GroupedQueryAttention{}, DenseFfn{}},
                                {GroupedQueryAttention{}, sparse},
                                {GroupedQueryAttention{}, sparse}};
    write_file_atomically(folder_ / "config.json", "{}");
    write_weights(1);
  }

  void write_weights(unsigned seed) const {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0, 0.02F);
    std::vector<std::vector<bf16>> values;
    std::vector<NamedTensor> tensors;
    values.reserve(100);
    for (const std::int64_t layer : {1, 2}) {
      for (std::int64_t expert = 0; expert < kExperts; ++expert) {
        for (const Role role : {Role::ExpertGate, Role::ExpertUp, Role::ExpertDown}) {
          std::vector<bf16>& matrix = values.emplace_back(kHidden * kIntermediate);
          for (bf16& value : matrix) value = to_bf16(normal(random));
          const Shape shape = role == Role::ExpertDown ? Shape{kHidden, kIntermediate}
                                                       : Shape{kIntermediate, kHidden};
          tensors.push_back({tensor_name(architecture_, role, layer, expert),
                             view_of(std::span<const bf16>(matrix), shape)});
        }
      }
    }
    write_safetensors(folder_ / "model.safetensors", tensors);
  }

  const std::filesystem::path& path() const { return folder_.path(); }
  const ModelDescription& description() const { return description_; }
  std::unique_ptr<TensorSource> open() const { return open_checkpoint(path()); }

 private:
  TemporaryFolder folder_;
  Architecture architecture_{};
  ModelDescription description_{};
};

}  // namespace krasis::test
