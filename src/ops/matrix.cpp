#include "ops/matrix.h"

#include <string>

#include "base/error.h"

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

}  // namespace krasis
