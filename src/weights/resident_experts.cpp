#include "weights/resident_experts.h"

#include <map>
#include <vector>

#include "base/error.h"
#include "weights/expert_tensors.h"

namespace krasis {
namespace {

constexpr std::size_t kDeviceAlignment = 256;

std::size_t plain_bytes(const Matrix& matrix) {
  const std::size_t element = matrix.format == Matrix::Format::F32 ? 4 : 2;
  const std::size_t bytes = static_cast<std::size_t>(matrix.rows * matrix.columns) * element;
  return (bytes + kDeviceAlignment - 1) / kDeviceAlignment * kDeviceAlignment;
}

// All plain matrices of a layer: gates, then ups, then downs.
std::vector<Matrix> plain_matrices(const ExpertMatrices& layer) {
  const auto count = static_cast<std::size_t>(layer.experts);
  std::vector<Matrix> all;
  for (const Matrix* matrices : {layer.gate, layer.up, layer.down})
    all.insert(all.end(), matrices, matrices + count);
  return all;
}

std::size_t layer_bytes(const ExpertMatrices& layer) {
  if (layer.tiled) return static_cast<std::size_t>(layer.experts) * layer.tiled->expert_bytes;
  std::size_t bytes = 0;
  for (const Matrix& matrix : plain_matrices(layer)) bytes += plain_bytes(matrix);
  return bytes;
}

class ResidentExperts final : public ExpertStore {
 public:
  ExpertMatrices layer(std::int64_t layer) const override {
    const auto found = layers_.find(layer);
    ensure(found != layers_.end(), "experts: this layer has none");
    return found->second.matrices;
  }
  std::size_t bytes() const override {
    std::size_t bytes = 0;
    for (const auto& [number, layer] : layers_) bytes += layer.buffer.bytes();
    return bytes;
  }

  void add(std::int64_t number, const ExpertMatrices& from, Memory& memory) {
    Layer& layer = layers_[number];
    layer.matrices = from;
    layer.buffer = memory.allocate(layer_bytes(from));
    std::byte* to = layer.buffer.data();
    if (from.tiled) {
      memory.upload(to, from.tiled->base, layer.buffer.bytes());
      layer.matrices.tiled->base = to;
      return;
    }
    layer.plain = plain_matrices(from);
    for (Matrix& matrix : layer.plain) {
      const std::size_t element = matrix.format == Matrix::Format::F32 ? 4 : 2;
      memory.upload(to, matrix.data,
                    static_cast<std::size_t>(matrix.rows * matrix.columns) * element);
      matrix.data = to;
      to += plain_bytes(matrix);
    }
    layer.matrices.gate = layer.plain.data();
    layer.matrices.up = layer.matrices.gate + from.experts;
    layer.matrices.down = layer.matrices.up + from.experts;
  }

 private:
  struct Layer {
    Buffer buffer;
    std::vector<Matrix> plain;  // or empty
    ExpertMatrices matrices;    // points into the two
  };
  std::map<std::int64_t, Layer> layers_;
};

}  // namespace

std::uint64_t resident_expert_bytes(const ModelSpec& spec, const ExpertStore& experts) {
  std::uint64_t bytes = 0;
  for (const SparseLayer& sparse : sparse_layers(spec))
    bytes += layer_bytes(experts.layer(sparse.layer));
  return bytes;
}

std::unique_ptr<ExpertStore> make_resident_experts(const ModelSpec& spec,
                                                   const ExpertStore& experts, Memory& memory,
                                                   const Progress& progress,
                                                   const CancelFlag* cancel) {
  auto resident = std::make_unique<ResidentExperts>();
  const std::uint64_t total = resident_expert_bytes(spec, experts);
  std::uint64_t done = 0;
  for (const SparseLayer& sparse : sparse_layers(spec)) {
    if (cancel != nullptr) cancel->check("experts");
    const ExpertMatrices layer = experts.layer(sparse.layer);
    resident->add(sparse.layer, layer, memory);
    done += layer_bytes(layer);
    if (progress.advance) progress.advance(done, total);
  }
  return resident;
}

}  // namespace krasis
