#include "ops/matrix.h"

#include <string>

#include "base/error.h"
#include "quant/expert_tiles.h"

namespace krasis {
namespace {

Matrix::Format format_of(DType dtype) {
  switch (dtype) {
    case DType::F32:
      return Matrix::Format::F32;
    case DType::BF16:
      return Matrix::Format::BF16;
    case DType::F16:
      return Matrix::Format::F16;
    default:
      break;
  }
  throw Error(ErrorCode::Unsupported, "matrix: elements are " + std::string(name_of(dtype)) +
                                          ", only F32, BF16 and F16 can be multiplied");
}

}  // namespace

Matrix Matrix::of(const TensorView& view) {
  const Shape& shape = view.shape();
  if (shape.rank() != 2) {
    throw Error(ErrorCode::InvalidArgument,
                "matrix: shape " + shape.to_string() + " has not two dimensions");
  }
  return {.format = format_of(view.dtype()),
          .rows = shape[0],
          .columns = shape[1],
          .data = view.data(),
          .tiles = std::nullopt};
}

Matrix Matrix::of(const TileMatrix& tiles) {
  return {.format = Format::Tiles,
          .rows = tiles.shape.rows,
          .columns = tiles.shape.columns,
          .data = nullptr,
          .tiles = tiles};
}

ExpertMatrices ExpertMatrices::of(const ExpertLayout& layout, std::int64_t experts,
                                  const std::byte* base) {
  ExpertMatrices matrices;
  matrices.experts = experts;
  matrices.hidden = layout.hidden;
  matrices.intermediate = layout.intermediate;
  matrices.tiled = Tiled{.base = base,
                         .expert_bytes = layout.expert_bytes,
                         .w13 = layout.w13,
                         .w2 = layout.w2,
                         .w13_tiles = layout.w13_tiles,
                         .w13_scales = layout.w13_scales,
                         .w2_tiles = layout.w2_tiles,
                         .w2_scales = layout.w2_scales};
  return matrices;
}

}  // namespace krasis
