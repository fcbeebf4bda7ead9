// Dense weights of a checkpoint in the form that the layers read them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "arch/architecture.h"
#include "model/model.h"
#include "ops/matrix.h"
#include "tensor/host_buffer.h"
#include "weights/tensor_source.h"

namespace krasis {

// A matrix and, unless it is a view of the checkpoint, its memory.
struct DenseMatrix {
  Matrix matrix;
  HostBuffer owned;
};

// Throws Error(NotFound | Corrupt | Unsupported) naming the tensor if one that the spec asks for
// (but a routed expert) is missing, misshapen or of another type than F32, BF16 and F16.
void check_dense_tensors(const ModelDescription& description, TensorSource& source);

class Loader {
 public:
  Loader(const ModelDescription& description, TensorSource& source, const DenseFormats& formats)
      : description_(description), source_(source), formats_(formats) {}

  const ModelSpec& spec() const { return description_.spec; }
  const DenseFormats& formats() const { return formats_; }

  // Throws Error(Internal) if the model has no such tensor.
  TensorView tensor(Role role, std::int64_t layer = 0) const;

  DenseMatrix matrix(Role role, std::int64_t layer, DenseFormat format);
  // Of weights [rows, columns] that this loader's caller has put together.
  DenseMatrix matrix(DType dtype, HostBuffer weights, const Shape& shape, DenseFormat format);
  std::vector<float> vector(Role role, std::int64_t layer = 0) const;     // any rank, flattened
  std::vector<float> vector_if(Role role, std::int64_t layer = 0) const;  // empty: no such tensor
  std::vector<float> norm(Role role, std::int64_t layer = 0) const;       // plus 1 if zero-centred

  // Counts memory that a part holds for its weights.
  void count(std::size_t bytes) { owned_bytes_ += bytes; }
  std::size_t owned_bytes() const { return owned_bytes_; }

 private:
  DenseMatrix tiled(const TensorView& weights);

  const ModelDescription& description_;
  TensorSource& source_;
  DenseFormats formats_;
  std::size_t owned_bytes_ = 0;
};

// Rows of `weights` [rows, columns] in another order: row i of the result is row order[i].
HostBuffer gather_rows(const TensorView& weights, std::span<const std::int64_t> order);

}  // namespace krasis
