#include "model/loader.h"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>
#include <utility>

#include "arch/tensor_shape.h"
#include "base/parallel.h"
#include "quant/quantize.h"

namespace krasis {
namespace {

constexpr TileType kDenseTiles = {.bits = 8, .group = 128};

bool in_layers(const TensorRule& rule) {
  return rule.name.find("{L}") != std::string_view::npos;
}

bool routed(const TensorRule& rule) {
  return rule.name.find("{E}") != std::string_view::npos;
}

TensorView require_dense(TensorSource& source, const std::string& name, const Shape& shape) {
  const TensorView view = source.require(name, shape);
  const DType type = view.dtype();
  if (type != DType::F32 && type != DType::BF16 && type != DType::F16) {
    throw Error(ErrorCode::Unsupported,
                fmt::format("checkpoint: {}: \"{}\" is {}, but dense weights must be F32, BF16 or "
                            "F16",
                            source.description(), name, name_of(type)));
  }
  return view;
}

}  // namespace

void check_dense_tensors(const ModelDescription& description, TensorSource& source) {
  const Architecture& architecture = *description.architecture;
  const auto layers = static_cast<std::int64_t>(description.spec.layers.size());
  for (const TensorRule& rule : architecture.tensors) {
    if (routed(rule)) continue;
    for (std::int64_t layer = 0; layer < (in_layers(rule) ? layers : 1); ++layer) {
      const std::optional<Shape> shape = tensor_shape(description.spec, rule.role, layer);
      if (shape) require_dense(source, tensor_name(architecture, rule.role, layer), *shape);
    }
  }
}

TensorView Loader::tensor(Role role, std::int64_t layer) const {
  const std::optional<Shape> shape = tensor_shape(spec(), role, layer);
  ensure(shape.has_value(), "loader: the model has no tensor of this role in this layer");
  return require_dense(source_, tensor_name(*description_.architecture, role, layer), *shape);
}

DenseMatrix Loader::matrix(Role role, std::int64_t layer, DenseFormat format) {
  const TensorView view = tensor(role, layer);
  if (format == DenseFormat::Int8) return tiled(view);
  return place(view);
}

DenseMatrix Loader::matrix(DType dtype, HostBuffer weights, const Shape& shape,
                           DenseFormat format) {
  const TensorView view(weights.data(), dtype, shape);
  if (format == DenseFormat::Int8) return tiled(view);
  DenseMatrix result = {Matrix::of(view), place(std::move(weights))};
  result.matrix.data = result.owned.data();
  return result;
}

DenseMatrix Loader::tiled(const TensorView& weights) {
  const std::int64_t rows = weights.shape()[0], columns = weights.shape()[1];
  const TileShape shape(kDenseTiles, rows, columns);
  HostBuffer contents(shape.tile_bytes() + shape.scale_bytes());
  std::byte* const tiles = contents.data();
  auto* const scales = reinterpret_cast<bf16*>(tiles + shape.tile_bytes());
  const WeightRows source = {
      .dtype = weights.dtype(), .data = weights.data(), .rows = rows, .columns = columns};
  for_each_in_parallel(shape.strips(), 0, [&](std::int64_t strip) {
    quantize_strips(source, {shape, tiles, scales}, strip, strip + 1);
  });
  DenseMatrix result = {{}, place(std::move(contents))};
  std::byte* const placed = result.owned.data();
  result.matrix = Matrix::of(
      TileMatrix{shape, placed, reinterpret_cast<const bf16*>(placed + shape.tile_bytes())});
  return result;
}

DenseMatrix Loader::place(const TensorView& weights) {
  DenseMatrix result = {Matrix::of(weights), {}};
  if (memory_.is_host()) return result;
  result.owned = counted(memory_.allocate(weights.bytes()));
  memory_.upload(result.owned.data(), weights.data(), weights.bytes());
  result.matrix.data = result.owned.data();
  return result;
}

Buffer Loader::place(HostBuffer contents) {
  return counted(memory_.hold(std::move(contents)));
}

Buffer Loader::counted(Buffer buffer) {
  owned_bytes_ += buffer.bytes();
  return buffer;
}

DenseVector Loader::place(std::span<const float> values) {
  Buffer buffer = memory_.allocate(values.size_bytes());
  memory_.upload(buffer.data(), values.data(), values.size_bytes());
  return DenseVector(std::move(buffer));
}

std::vector<float> Loader::numbers(Role role, std::int64_t layer) const {
  const TensorView view = tensor(role, layer);
  std::vector<float> values(static_cast<std::size_t>(view.shape().count()));
  switch (view.dtype()) {
    case DType::F32:
      std::ranges::copy(view.as<float>(), values.begin());
      break;
    case DType::BF16:
      std::ranges::transform(view.as<bf16>(), values.begin(), [](bf16 v) { return to_float(v); });
      break;
    default:
      std::ranges::transform(view.as<f16>(), values.begin(), [](f16 v) { return to_float(v); });
  }
  return values;
}

DenseVector Loader::vector(Role role, std::int64_t layer) {
  return place(numbers(role, layer));
}

DenseVector Loader::vector_if(Role role, std::int64_t layer) {
  return tensor_shape(spec(), role, layer) ? vector(role, layer) : DenseVector();
}

DenseVector Loader::norm(Role role, std::int64_t layer) {
  std::vector<float> weight = numbers(role, layer);
  if (spec().zero_centred_norms)
    for (float& value : weight) value += 1;
  return place(weight);
}

HostBuffer gather_rows(const TensorView& weights, std::span<const std::int64_t> order) {
  const std::size_t row_bytes =
      static_cast<std::size_t>(weights.shape()[1]) * size_of(weights.dtype());
  HostBuffer gathered(order.size() * row_bytes);
  for (std::size_t row = 0; row < order.size(); ++row) {
    std::memcpy(gathered.data() + row * row_bytes,
                weights.data() + static_cast<std::size_t>(order[row]) * row_bytes, row_bytes);
  }
  return gathered;
}

}  // namespace krasis
