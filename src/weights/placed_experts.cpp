#include "weights/placed_experts.h"

#include <map>

#include "base/error.h"
#include "weights/expert_tensors.h"

namespace krasis {
namespace {

class PlacedExpertStore final : public ExpertStore {
 public:
  PlacedExpertStore(const ModelSpec& spec, std::span<const ExpertMatrices> placed) {
    std::size_t next = 0;
    for (const SparseLayer& sparse : sparse_layers(spec)) {
      ensure(next < placed.size(), "placed experts: fewer layers than the model has");
      layers_[sparse.layer] = placed[next++];
    }
  }

  ExpertMatrices layer(std::int64_t layer) const override {
    const auto found = layers_.find(layer);
    ensure(found != layers_.end(), "placed experts: this layer has none");
    return found->second;
  }
  std::size_t bytes() const override { return 0; }

 private:
  std::map<std::int64_t, ExpertMatrices> layers_;
};

}  // namespace

std::vector<ExpertMatrices> sparse_expert_layers(const ModelSpec& spec,
                                                 const ExpertStore& experts) {
  std::vector<ExpertMatrices> layers;
  for (const SparseLayer& sparse : sparse_layers(spec))
    layers.push_back(experts.layer(sparse.layer));
  return layers;
}

std::unique_ptr<ExpertStore> make_placed_experts(const ModelSpec& spec,
                                                 std::span<const ExpertMatrices> placed) {
  return std::make_unique<PlacedExpertStore>(spec, placed);
}

}  // namespace krasis
