#include "weights/plain_experts.h"

#include <map>
#include <utility>
#include <vector>

#include "tensor/host_buffer.h"
#include "weights/expert_tensors.h"

namespace krasis {
namespace {

// W[row, column] = scale[row, column / group] * (nibble - 8).
TensorView dequantize(const CompressedRows& weight, std::int64_t group, HostBuffer& buffer) {
  constexpr int kNibbleBits = 4;
  constexpr int kOffset = 8;
  buffer = HostBuffer(static_cast<std::size_t>(weight.rows * weight.columns) * sizeof(float));
  auto* out = buffer.as<float>();
  for (std::int64_t row = 0; row < weight.rows; ++row) {
    for (std::int64_t column = 0; column < weight.columns; ++column) {
      const auto word =
          static_cast<std::uint32_t>(weight.packed[(row * weight.columns + column) / 8]);
      const int nibble = static_cast<int>(word >> (column % 8 * kNibbleBits) & 0xfU);
      const float scale = to_float(weight.scales[(row * weight.columns + column) / group]);
      out[row * weight.columns + column] = scale * static_cast<float>(nibble - kOffset);
    }
  }
  return {buffer.data(), DType::F32, Shape{weight.rows, weight.columns}};
}

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
    for (const HostBuffer& buffer : owned_) total += buffer.bytes();
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
      HostBuffer buffer;
      const TensorView view = dequantize(weight, group, buffer);
      owned_.push_back(std::move(buffer));
      return view;
    };
    matrices.add({.gate = own(expert.gate), .up = own(expert.up), .down = own(expert.down)});
  }

  std::int64_t hidden_;
  std::map<std::int64_t, Layer> layers_;
  std::vector<HostBuffer> owned_;
};

}  // namespace

std::unique_ptr<ExpertStore> make_plain_experts(const ModelDescription& model,
                                                TensorSource& source) {
  return std::make_unique<PlainExperts>(model, source);
}

}  // namespace krasis
