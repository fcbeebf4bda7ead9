// The tensors of one routed expert, looked up in a source and checked against the spec. Views, as
// long as the source lives.
#pragma once

#include <cstdint>
#include <vector>

#include "arch/architecture.h"
#include "quant/quantize.h"
#include "weights/tensor_source.h"

namespace krasis {

// The layers of a spec that have routed experts, in order.
struct SparseLayer {
  std::int64_t layer;  // its number in ModelSpec::layers
  std::int64_t experts;
  std::int64_t intermediate;
};
std::vector<SparseLayer> sparse_layers(const ModelSpec& spec);

// Expert matrices in F32, BF16 or F16 (ExpertStorage::Plain).
struct PlainExpert {
  TensorView gate, up;  // [intermediate, hidden]
  TensorView down;      // [hidden, intermediate]
};

// Expert matrices of compressed-tensors INT4 (ExpertStorage::PackedInt4), group spec.packed_group.
struct PackedExpert {
  CompressedRows gate, up;  // [intermediate, hidden]
  CompressedRows down;      // [hidden, intermediate]
};

// Throw Error(NotFound | Corrupt | Unsupported) naming the tensor that is missing, misshapen or of
// a type that is not understood. ExpertStorage must be the one asked for.
PlainExpert plain_expert(const ModelDescription& model, TensorSource& source,
                         const SparseLayer& layer, std::int64_t expert);
PackedExpert packed_expert(const ModelDescription& model, TensorSource& source,
                           const SparseLayer& layer, std::int64_t expert);

}  // namespace krasis
