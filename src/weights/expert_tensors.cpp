#include "weights/expert_tensors.h"

#include <string>
#include <variant>

#include "base/error.h"

namespace krasis {
namespace {

constexpr std::int64_t kNibblesPerWord = 8;

[[noreturn]] void fail(ErrorCode code, const TensorSource& source, const std::string& name,
                       const std::string& text) {
  throw Error(code, "checkpoint: " + source.description() + ": \"" + name + "\" " + text);
}

TensorView require_float(TensorSource& source, const std::string& name, const Shape& shape) {
  const TensorView view = source.require(name, shape);
  if (view.dtype() != DType::F32 && view.dtype() != DType::BF16 && view.dtype() != DType::F16) {
    fail(ErrorCode::Unsupported, source, name,
         "is " + std::string(name_of(view.dtype())) +
             ", but experts are read from F32, BF16 or F16 (or from a checkpoint whose config.json "
             "declares how they are packed)");
  }
  return view;
}

TensorView require_typed(TensorSource& source, const std::string& name, const Shape& shape,
                         DType dtype) {
  const TensorView view = source.require(name, shape);
  if (view.dtype() != dtype) {
    fail(ErrorCode::Unsupported, source, name,
         "is " + std::string(name_of(view.dtype())) + ", but packed experts have " +
             std::string(name_of(dtype)) + " there");
  }
  return view;
}

// "weight_shape" repeats what the spec says; a checkpoint where it does not is another model's.
void check_packed_shape(TensorSource& source, const std::string& name, std::int64_t rows,
                        std::int64_t columns) {
  const TensorView view = source.require(name, Shape{2});
  std::array<std::int64_t, 2> stored{};
  if (view.dtype() == DType::I32) {
    stored = {view.as<std::int32_t>()[0], view.as<std::int32_t>()[1]};
  } else if (view.dtype() == DType::I64) {
    stored = {view.as<std::int64_t>()[0], view.as<std::int64_t>()[1]};
  } else {
    fail(ErrorCode::Unsupported, source, name,
         "is " + std::string(name_of(view.dtype())) + ", not I32 or I64");
  }
  if (stored[0] != rows || stored[1] != columns) {
    fail(ErrorCode::Corrupt, source, name,
         "says [" + std::to_string(stored[0]) + ", " + std::to_string(stored[1]) +
             "], but config.json asks for [" + std::to_string(rows) + ", " +
             std::to_string(columns) + "]");
  }
}

CompressedRows packed_matrix(const ModelSpec& spec, TensorSource& source, const std::string& name,
                             std::int64_t rows, std::int64_t columns) {
  const std::int64_t group = spec.packed_group;
  if (group <= 0 || columns % group != 0 || columns % kNibblesPerWord != 0) {
    fail(ErrorCode::Unsupported, source, name,
         "has " + std::to_string(columns) + " columns, which groups of " + std::to_string(group) +
             " do not divide");
  }
  check_packed_shape(source, name + "_shape", rows, columns);
  const TensorView packed =
      require_typed(source, name + "_packed", {rows, columns / kNibblesPerWord}, DType::I32);
  const TensorView scales =
      require_typed(source, name + "_scale", {rows, columns / group}, DType::BF16);
  return {.packed = packed.as<std::int32_t>().data(),
          .scales = scales.as<bf16>().data(),
          .rows = rows,
          .columns = columns};
}

}  // namespace

std::vector<SparseLayer> sparse_layers(const ModelSpec& spec) {
  std::vector<SparseLayer> layers;
  for (std::size_t i = 0; i < spec.layers.size(); ++i) {
    if (const auto* sparse = std::get_if<SparseFfn>(&spec.layers[i].ffn)) {
      layers.push_back({.layer = static_cast<std::int64_t>(i),
                        .experts = sparse->routing.experts,
                        .intermediate = sparse->intermediate});
    }
  }
  return layers;
}

PlainExpert plain_expert(const ModelDescription& model, TensorSource& source,
                         const SparseLayer& layer, std::int64_t expert) {
  const auto name = [&](Role role) {
    return tensor_name(*model.architecture, role, layer.layer, expert);
  };
  const std::int64_t hidden = model.spec.hidden;
  return {.gate = require_float(source, name(Role::ExpertGate), {layer.intermediate, hidden}),
          .up = require_float(source, name(Role::ExpertUp), {layer.intermediate, hidden}),
          .down = require_float(source, name(Role::ExpertDown), {hidden, layer.intermediate})};
}

PackedExpert packed_expert(const ModelDescription& model, TensorSource& source,
                           const SparseLayer& layer, std::int64_t expert) {
  const auto matrix = [&](Role role, std::int64_t rows, std::int64_t columns) {
    return packed_matrix(model.spec, source,
                         tensor_name(*model.architecture, role, layer.layer, expert), rows,
                         columns);
  };
  const std::int64_t hidden = model.spec.hidden;
  return {.gate = matrix(Role::ExpertGate, layer.intermediate, hidden),
          .up = matrix(Role::ExpertUp, layer.intermediate, hidden),
          .down = matrix(Role::ExpertDown, hidden, layer.intermediate)};
}

}  // namespace krasis
