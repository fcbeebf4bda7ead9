// Dense weights of a checkpoint in the form that the layers read them.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "arch/architecture.h"
#include "model/model.h"
#include "ops/matrix.h"
#include "ops/memory.h"
#include "weights/tensor_source.h"

namespace krasis {

// A matrix and, unless it is a view of the checkpoint, its memory.
struct DenseMatrix {
  Matrix matrix;
  Buffer owned;
};

// Numbers where the ops read them.
class DenseVector {
 public:
  DenseVector() = default;
  explicit DenseVector(Buffer values) : values_(std::move(values)) {}

  bool empty() const { return values_.bytes() == 0; }
  // NOLINTNEXTLINE(google-explicit-constructor): it is what ops are given.
  operator std::span<const float>() const {
    return {values_.as<float>(), values_.bytes() / sizeof(float)};
  }

 private:
  Buffer values_;
};

// Throws Error(NotFound | Corrupt | Unsupported) naming the tensor if one that the spec asks for
// (but a routed expert) is missing, misshapen or of another type than F32, BF16 and F16.
void check_dense_tensors(const ModelDescription& description, TensorSource& source);

class Loader {
 public:
  // `memory`: where the weights are put; the program's own memory takes views of the source instead
  // of copies.
  Loader(const ModelDescription& description, TensorSource& source, const DenseFormats& formats,
         Memory& memory)
      : description_(description), source_(source), formats_(formats), memory_(memory) {}

  const ModelSpec& spec() const { return description_.spec; }
  const DenseFormats& formats() const { return formats_; }
  Memory& memory() const { return memory_; }

  // Throws Error(Internal) if the model has no such tensor.
  TensorView tensor(Role role, std::int64_t layer = 0) const;

  DenseMatrix matrix(Role role, std::int64_t layer, DenseFormat format);
  // Of weights [rows, columns] that this loader's caller has put together.
  DenseMatrix matrix(DType dtype, HostBuffer weights, const Shape& shape, DenseFormat format);
  DenseVector vector(Role role, std::int64_t layer = 0);     // any rank, flattened
  DenseVector vector_if(Role role, std::int64_t layer = 0);  // empty: no such tensor
  DenseVector norm(Role role, std::int64_t layer = 0);       // plus 1 if zero-centred

  // As vector(), in the program's own memory.
  std::vector<float> numbers(Role role, std::int64_t layer = 0) const;

  // What the ops shall read: the view itself where they can, a copy otherwise.
  DenseMatrix place(const TensorView& weights);
  // Contents that a part has put together; counted.
  Buffer place(HostBuffer contents);
  DenseVector place(std::span<const float> values);

  // Counts memory that a part holds for weights beside what it placed.
  void count(std::size_t bytes) { owned_bytes_ += bytes; }
  std::size_t owned_bytes() const { return owned_bytes_; }

 private:
  DenseMatrix tiled(const TensorView& weights);
  Buffer counted(Buffer buffer);

  const ModelDescription& description_;
  TensorSource& source_;
  DenseFormats formats_;
  Memory& memory_;
  std::size_t owned_bytes_ = 0;
};

// Rows of `weights` [rows, columns] in another order: row i of the result is row order[i].
HostBuffer gather_rows(const TensorView& weights, std::span<const std::int64_t> order);

}  // namespace krasis
