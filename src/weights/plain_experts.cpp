#include "weights/plain_experts.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "weights/expert_tensors.h"
#include "weights/packed_int4.h"

namespace krasis {
namespace {

class PlainExperts final : public ExpertStore {
 public:
  PlainExperts(const ModelDescription& model, TensorSource& source) : hidden_(model.spec.hidden) {
    for (const SparseLayer& layer : sparse_layers(model.spec)) {
      Layer& matrices = layers_[layer.layer];
      matrices.intermediate = layer.intermediate;
      for (std::int64_t expert = 0; expert < layer.experts; ++expert) {
        if (model.spec.expert_storage == ExpertStorage::PackedInt4) {
          add_packed(matrices, packed_expert(model, source, layer, expert),
                     model.spec.packed_group);
        } else {
          matrices.add(plain_expert(model, source, layer, expert));
        }
      }
    }
  }

  ExpertMatrices layer(std::int64_t layer) const override {
    const auto found = layers_.find(layer);
    if (found == layers_.end()) {
      throw Error(ErrorCode::InvalidArgument,
                  "experts: layer " + std::to_string(layer) + " has no routed experts");
    }
    const Layer& matrices = found->second;
    return {.experts = static_cast<std::int64_t>(matrices.gate.size()),
            .hidden = hidden_,
            .intermediate = matrices.intermediate,
            .gate = matrices.gate.data(),
            .up = matrices.up.data(),
            .down = matrices.down.data(),
            .tiled = std::nullopt};
  }

  std::size_t bytes() const override {
    std::size_t total = 0;
    for (const std::vector<bf16>& values : owned_) total += values.size() * sizeof(bf16);
    return total;
  }

 private:
  struct Layer {
    std::int64_t intermediate = 0;
    std::vector<Matrix> gate, up, down;

    void add(const PlainExpert& expert) {
      gate.push_back(Matrix::of(expert.gate));
      up.push_back(Matrix::of(expert.up));
      down.push_back(Matrix::of(expert.down));
    }
  };

  void add_packed(Layer& matrices, const PackedExpert& expert, std::int64_t group) {
    const auto own = [&](const CompressedRows& weight) {
      const std::vector<float> exact = dequantize_packed(weight, group);
      std::vector<bf16>& rounded = owned_.emplace_back(exact.size());
      std::ranges::transform(exact, rounded.begin(), to_bf16);
      return view_of(std::span<const bf16>(rounded), Shape{weight.rows, weight.columns});
    };
    matrices.add({.gate = own(expert.gate), .up = own(expert.up), .down = own(expert.down)});
  }

  std::int64_t hidden_;
  std::map<std::int64_t, Layer> layers_;
  std::vector<std::vector<bf16>> owned_;
};

}  // namespace

std::unique_ptr<ExpertStore> make_plain_experts(const ModelDescription& model,
                                                TensorSource& source) {
  return std::make_unique<PlainExperts>(model, source);
}

}  // namespace krasis
