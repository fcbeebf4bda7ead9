#include <algorithm>
#include <numeric>

#include "ops/reference.h"
#include "quant/activations.h"
#include "quant/expert_tiles.h"

namespace krasis::reference {
namespace {

template <class T>
const T* elements_of(const Matrix& matrix, std::int64_t row) {
  return reinterpret_cast<const T*>(matrix.data) + row * matrix.columns;
}

double widen(float value) {
  return double{value};
}
double widen(bf16 value) {
  return double{to_float(value)};
}
double widen(f16 value) {
  return double{to_float(value)};
}

template <class T>
double dot(const T* row, std::span<const float> x) {
  double sum = 0;
  for (std::size_t k = 0; k < x.size(); ++k) sum += double{x[k]} * widen(row[k]);
  return sum;
}

double dot_of(const Matrix& matrix, std::int64_t row, std::span<const float> x) {
  switch (matrix.format) {
    case Matrix::Format::F32:
      return dot(elements_of<float>(matrix, row), x);
    case Matrix::Format::BF16:
      return dot(elements_of<bf16>(matrix, row), x);
    case Matrix::Format::F16:
      return dot(elements_of<f16>(matrix, row), x);
    case Matrix::Format::Tiles:
      break;
  }
  throw Error(ErrorCode::Internal, "reference: tiles have no plain elements");
}

// The integer sums of a group are exact, as is their product with two F32 scales but for one
// rounding in double.
std::vector<double> multiply_tiles(const TileMatrix& tiles, std::int64_t first, std::int64_t count,
                                   std::span<const float> x) {
  const TileShape& shape = tiles.shape;
  const std::int64_t group = shape.type.group;
  std::vector<std::int8_t> quantized(static_cast<std::size_t>(shape.padded_columns));
  std::vector<float> scales(static_cast<std::size_t>(shape.groups()));
  quantize_activations(x, shape.type.group, quantized, scales);

  std::vector<double> out(static_cast<std::size_t>(count));
  for (std::int64_t n = 0; n < count; ++n) {
    for (std::int64_t g = 0; g < shape.groups(); ++g) {
      std::int64_t sum = 0;
      const std::int64_t end = std::min((g + 1) * group, shape.columns);
      for (std::int64_t k = g * group; k < end; ++k)
        sum += tile_value(tiles, first + n, k) * quantized[static_cast<std::size_t>(k)];
      const bf16 scale = tiles.scales[tile_scale_index(shape, first + n, g)];
      out[static_cast<std::size_t>(n)] += static_cast<double>(sum) * double{to_float(scale)} *
                                          double{scales[static_cast<std::size_t>(g)]};
    }
  }
  return out;
}

std::span<const float> row_of(const Rows& rows, std::int64_t index) {
  return {rows.row(index), static_cast<std::size_t>(rows.cols)};
}

}  // namespace

double element(const Matrix& matrix, std::int64_t row, std::int64_t column) {
  switch (matrix.format) {
    case Matrix::Format::F32:
      return widen(elements_of<float>(matrix, row)[column]);
    case Matrix::Format::BF16:
      return widen(elements_of<bf16>(matrix, row)[column]);
    case Matrix::Format::F16:
      return widen(elements_of<f16>(matrix, row)[column]);
    case Matrix::Format::Tiles:
      break;
  }
  throw Error(ErrorCode::Internal, "reference: tiles have no plain elements");
}

std::vector<double> multiply(const Matrix& matrix, std::int64_t first, std::int64_t count,
                             std::span<const float> x) {
  if (matrix.format == Matrix::Format::Tiles)
    return multiply_tiles(matrix.tiles.value(), first, count, x);
  std::vector<double> out(static_cast<std::size_t>(count));
  for (std::int64_t n = 0; n < count; ++n)
    out[static_cast<std::size_t>(n)] = dot_of(matrix, first + n, x);
  return out;
}

void linear(const Linear& op) {
  for (std::int64_t t = 0; t < op.x.rows; ++t) {
    const std::vector<double> y = multiply(op.weight, 0, op.weight.rows, row_of(op.x, t));
    for (std::size_t n = 0; n < y.size(); ++n) {
      const double bias = op.bias.empty() ? 0 : double{op.bias[n]};
      op.out.row(t)[n] = static_cast<float>(y[n] + bias);
    }
  }
}

void head_linear(const HeadLinear& op) {
  const std::int64_t rows = op.weight.rows / op.heads;
  for (std::int64_t r = 0; r < op.x.rows; ++r) {
    const std::int64_t head = r % op.heads;
    const std::vector<double> y = multiply(op.weight, head * rows, rows, row_of(op.x, r));
    std::transform(y.begin(), y.end(), op.out.row(r),
                   [](double value) { return static_cast<float>(value); });
  }
}

}  // namespace krasis::reference
