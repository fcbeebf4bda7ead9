// One expert from the checkpoint's tensors to tiles.
#pragma once

#include <cstddef>
#include <span>

#include "quant/quantize.h"
#include "weights/cache_plan.h"
#include "weights/expert_tensors.h"
#include "weights/tensor_source.h"

namespace krasis {

class ExpertBuilder {
 public:
  // All three outlive the builder. `plan` is one of model.spec.
  ExpertBuilder(const ModelDescription& model, TensorSource& source, const ExpertCachePlan& plan,
                ScaleSearch search);

  // Writes all bytes of `out` (slot.bytes of them), gaps between the parts as zeros: the same bytes
  // for the same weights. Packed INT4 is kept as it is where the plan's tiles are INT4 of the same
  // group, otherwise it is dequantized and quantized again. Thread-safe. Throws an Error that names
  // layer and expert, or the tensor.
  void build(const ExpertSlot& slot, std::span<std::byte> out) const;

  // Says that `slot` comes soon, so that the source can read ahead.
  void prefetch(const ExpertSlot& slot) const;

 private:
  void quantize(const PlainExpert& expert, const ExpertLayout& layout, std::byte* out) const;
  void repack(const PackedExpert& expert, const ExpertLayout& layout, std::byte* out) const;
  void convert(const PackedExpert& expert, const ExpertLayout& layout, std::byte* out) const;
  SparseLayer sparse_layer(const ExpertSlot& slot) const;

  const ModelDescription& model_;
  TensorSource& source_;
  const ExpertCachePlan& plan_;
  QuantizeOptions options_;
};

}  // namespace krasis
