#include "tensor/tensor.h"

#include <utility>

namespace krasis {
namespace {

struct TypeRow {
  DType dtype;
  std::string_view name;
  std::size_t bytes;
};

constexpr std::array kTypes = {
    TypeRow{DType::F32, "F32", 4}, TypeRow{DType::BF16, "BF16", 2},
    TypeRow{DType::F16, "F16", 2}, TypeRow{DType::F8E4M3, "F8_E4M3", 1},
    TypeRow{DType::I64, "I64", 8}, TypeRow{DType::I32, "I32", 4},
    TypeRow{DType::I16, "I16", 2}, TypeRow{DType::I8, "I8", 1},
    TypeRow{DType::U8, "U8", 1},   TypeRow{DType::Bool, "BOOL", 1},
};

}  // namespace

std::size_t size_of(DType dtype) {
  for (const TypeRow& row : kTypes)
    if (row.dtype == dtype) return row.bytes;
  throw Error(ErrorCode::Internal, "dtype: no such type");
}

std::string_view name_of(DType dtype) {
  for (const TypeRow& row : kTypes)
    if (row.dtype == dtype) return row.name;
  throw Error(ErrorCode::Internal, "dtype: no such type");
}

DType dtype_named(std::string_view name) {
  for (const TypeRow& row : kTypes)
    if (row.name == name) return row.dtype;
  throw Error(ErrorCode::Unsupported, "dtype: \"" + std::string(name) + "\" is not supported");
}

Shape::Shape(std::span<const std::int64_t> dims) : rank_(dims.size()) {
  if (dims.size() > kMaxRank) {
    throw Error(ErrorCode::InvalidArgument, "shape: " + std::to_string(dims.size()) +
                                                " dimensions, at most " + std::to_string(kMaxRank));
  }
  for (std::size_t axis = 0; axis < dims.size(); ++axis) {
    dims_[axis] = dims[axis];
    if (dims[axis] < 0 || __builtin_mul_overflow(count_, dims[axis], &count_)) {
      throw Error(ErrorCode::InvalidArgument,
                  "shape: dimension " + std::to_string(dims[axis]) + " is negative or too large");
    }
  }
}

std::string Shape::to_string() const {
  std::string text = "[";
  for (std::size_t axis = 0; axis < rank_; ++axis)
    text += (axis == 0 ? "" : ", ") + std::to_string(dims_[axis]);
  return text + "]";
}

}  // namespace krasis
