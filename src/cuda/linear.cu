#include <algorithm>

#include "base/error.h"
#include "cuda/cublaslt.h"
#include "cuda/dense_gemm.h"
#include "cuda/linear.h"
#include "cuda/linear_few_rows.h"
#include "cuda/linear_plan.h"
#include "cuda/linear_vector.h"
#include "cuda/rows_bf16.h"
#include "cuda/runtime.h"
#include "cuda/tile_dequantize.h"
#include "cuda/tile_gemm.h"

namespace krasis::cuda {
namespace {

// Of dequantized weights at a time: they stay in a large card's L2 cache in part, and small cards
// have the room.
constexpr std::int64_t kWeightPartBytes = std::int64_t{64} << 20;
constexpr std::size_t kWorkspaceBytes = (std::size_t{32} << 20) + 4096;  // cublaslt.h's
constexpr std::int64_t kAlignment = 256;

// Both ops as one: a linear has one head.
struct Product {
  ProductRows x;  // [tokens * heads, K]
  const Matrix& weight;
  const float* bias;
  MutableRows out;  // [tokens * heads, N]
  std::int64_t heads;

  std::int64_t tokens() const { return x.rows / heads; }
  std::int64_t rows() const { return weight.rows / heads; }
  // With one head.
  Linear linear() const {
    const auto biases = static_cast<std::size_t>(bias == nullptr ? 0 : rows());
    return {.x = x, .weight = weight, .bias = {bias, biases}, .out = out};
  }
};

PlainProduct plain(const Product& p) {
  return {.weight = p.weight.data,
          .format = p.weight.format,
          .x = p.x.data,
          .x_stride = p.x.stride,
          .bias = p.bias,
          .out = p.out.data,
          .out_stride = p.out.stride,
          .rows = p.rows(),
          .columns = p.weight.columns,
          .tokens = p.tokens(),
          .heads = p.heads};
}

void multiply(const DenseProduct& product, const Launch& launch) {
  if (launch.cublas != nullptr) {
    launch.cublas->multiply(product, launch);
  } else {
    dense_gemm(product, launch);
  }
}

// Everything but the weight. Rows of x are rounded into rows of `columns`, or are so already.
DenseProduct rounded(const Product& p, std::int64_t columns, const Launch& launch) {
  return {.x = high_rows(p.x, columns, launch),
          .x_stride = p.heads * columns,
          .out = p.out.data,
          .out_stride = p.heads * p.out.stride,
          .bias = p.bias,
          .rows = p.rows(),
          .columns = columns,
          .tokens = p.tokens(),
          .batch = p.heads,
          .x_step = columns,
          .out_step = p.out.stride};
}

void dense(const Product& p, const Launch& launch) {
  DenseProduct product = rounded(p, p.weight.columns, launch);
  product.weight = reinterpret_cast<const __nv_bfloat16*>(p.weight.data);
  product.weight_stride = p.weight.columns;
  product.weight_step = p.rows() * p.weight.columns;
  Scratch workspace = launch.scratch;
  const Launch inner{launch.stream, workspace, launch.device, launch.tables, launch.cublas};
  multiply(product, inner);
  if (p.weight.rows > kExactRows) return;
  workspace = launch.scratch;
  if (p.x.form == RowForm::F32) {
    rows_to_bf16(p.x, const_cast<__nv_bfloat16*>(product.x), p.weight.columns, launch,
                 Bf16Part::Low);
  } else {
    product.x = reinterpret_cast<const __nv_bfloat16*>(p.x.low());
  }
  product.bias = nullptr;
  product.adds = true;
  multiply(product, inner);
}

// The strips of one head, or of several.
std::int64_t part_strips(const TileShape& shape, std::int64_t heads) {
  const std::int64_t head_strips = shape.strips() / heads;
  const std::int64_t strip_bytes = kStripRows * shape.padded_columns * 2;
  const std::int64_t most = std::max<std::int64_t>(1, kWeightPartBytes / strip_bytes);
  if (heads == 1) return std::min(most, head_strips);
  return std::clamp<std::int64_t>(most / head_strips, 1, heads) * head_strips;
}

void tile_dense(const Product& p, const Launch& launch) {
  const TileMatrix& matrix = p.weight.tiles.value();
  const std::int64_t columns = matrix.shape.padded_columns;
  const std::int64_t strips = matrix.shape.strips();
  const std::int64_t head_strips = strips / p.heads;
  const std::int64_t part = part_strips(matrix.shape, p.heads);
  const DenseProduct all = rounded(p, columns, launch);
  auto* weight =
      launch.scratch.take_as<__nv_bfloat16>(static_cast<std::size_t>(part * kStripRows * columns));
  for (std::int64_t first = 0; first < strips; first += part) {
    const std::int64_t count = std::min(part, strips - first);
    dequantize_strips(matrix, first, count, weight, launch);
    DenseProduct product = all;
    product.weight = weight;
    product.weight_stride = columns;
    if (p.heads > 1) {
      const std::int64_t head = first / head_strips;
      product.weight_step = p.rows() * columns;
      product.batch = count / head_strips;
      product.x += head * all.x_step;
      product.out += head * all.out_step;
    } else {
      const std::int64_t first_row = first * kStripRows;
      product.rows = std::min(count * kStripRows, all.rows - first_row);
      product.out += first_row;
      if (all.bias != nullptr) product.bias += first_row;
    }
    Scratch workspace = launch.scratch;  // the parts follow each other: one workspace does
    multiply(product, {launch.stream, workspace, launch.device, launch.tables, launch.cublas});
  }
}

TileSource source_of(const TileMatrix& matrix) {
  const auto* scales = reinterpret_cast<const std::byte*>(matrix.scales);
  TileSource source = TileSource::of(matrix.shape, matrix.tiles, 0, 0);
  source.scales = static_cast<std::size_t>(scales - matrix.tiles);
  return source;
}

void few_tiles(const Product& p, const Launch& launch) {
  const TileMatrix& matrix = p.weight.tiles.value();
  TileVector product{.weight = source_of(matrix),
                     .x = p.x.data,
                     .x_stride = p.x.stride,
                     .columns = static_cast<int>(p.x.cols),
                     .pairs = static_cast<int>(p.tokens()),
                     .heads = static_cast<int>(p.heads),
                     .out = p.out.data,
                     .out_stride = p.out.stride,
                     .rows = static_cast<int>(p.rows()),
                     .bias = p.bias};
  const bool aligned = reinterpret_cast<std::uintptr_t>(p.x.data) % 16 == 0 &&
                       p.x.stride % 4 == 0 && p.x.cols % 4 == 0;
  if (!aligned) {
    const std::int64_t columns = matrix.shape.padded_columns;
    auto* x = launch.scratch.take_as<__nv_bfloat16>(static_cast<std::size_t>(p.x.rows * columns));
    rows_to_bf16(p.x, x, columns, launch);
    product.x = x;
    product.x_is_bf16 = true;
    product.x_stride = columns;
    product.columns = static_cast<int>(columns);
  }
  tile_vector(product, TileOutput::Sums, launch);
}

void many_tiles(const Product& p, const Launch& launch) {
  const TileMatrix& matrix = p.weight.tiles.value();
  const std::int64_t columns = matrix.shape.padded_columns;
  tile_gemm({.weight = source_of(matrix),
             .x = high_rows(p.x, columns, launch),
             .x_stride = columns,
             .positions = static_cast<int>(p.x.rows),
             .out = p.out.data,
             .out_stride = p.out.stride,
             .rows = static_cast<int>(p.rows()),
             .bias = p.bias},
            TileOutput::Sums, launch);
}

void run(const Product& p, const Launch& launch) {
  if (p.x.rows == 0) return;
  switch (linear_path(p.weight, p.tokens(), p.heads, launch.cublas != nullptr)) {
    case LinearPath::Any:
      return linear_any(plain(p), launch);
    case LinearPath::Vector:
      return linear_vector(plain(p), launch);
    case LinearPath::Dense:
      return dense(p, launch);
    case LinearPath::FewRows:
      return linear_few_rows(p.linear(), launch);
    case LinearPath::TileVector:
      return few_tiles(p, launch);
    case LinearPath::TileGemm:
      return many_tiles(p, launch);
    case LinearPath::TileDense:
      return tile_dense(p, launch);
  }
}

}  // namespace

void linear(const Linear& op, const Launch& launch) {
  run({op.x, op.weight, op.bias.empty() ? nullptr : op.bias.data(), op.out, 1}, launch);
}

void head_linear(const HeadLinear& op, const Launch& launch) {
  run({op.x, op.weight, nullptr, op.out, op.heads}, launch);
}

RowForm linear_form(const Matrix& weight, std::int64_t rows, bool has_cublas) {
  switch (linear_path(weight, rows, 1, has_cublas)) {
    case LinearPath::Dense:
      return weight.rows <= kExactRows ? RowForm::HighLow : RowForm::High;
    case LinearPath::FewRows:
      return RowForm::HighLow;
    case LinearPath::TileGemm:
    case LinearPath::TileDense:
      return weight.columns == weight.tiles->shape.padded_columns ? RowForm::High : RowForm::F32;
    case LinearPath::Any:
    case LinearPath::Vector:
    case LinearPath::TileVector:
      break;
  }
  return RowForm::F32;
}

std::size_t linear_scratch_bytes(const Matrix& weight, std::int64_t tokens, std::int64_t heads) {
  const bool tiles = weight.format == Matrix::Format::Tiles;
  const std::int64_t columns =
      tiles ? weight.tiles->shape.padded_columns : (weight.columns + 7) / 8 * 8;
  const std::int64_t x = tokens * heads * columns * 2 + kAlignment;
  const std::int64_t part =
      tiles ? part_strips(weight.tiles->shape, heads) * kStripRows * columns * 2 + kAlignment : 0;
  return static_cast<std::size_t>(x + part) + kWorkspaceBytes;
}

}  // namespace krasis::cuda
