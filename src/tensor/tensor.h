// Non-owning views of row-major tensors. Shapes read as PyTorch prints them: outermost dimension
// first, last dimension contiguous. A view never allocates and never outlives its buffer.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <type_traits>

#include "base/error.h"
#include "base/float16.h"
#include "tensor/dtype.h"

namespace krasis {

template <class T>
constexpr DType dtype_of() {
  if constexpr (std::is_same_v<T, float>) return DType::F32;
  if constexpr (std::is_same_v<T, bf16>) return DType::BF16;
  if constexpr (std::is_same_v<T, f16>) return DType::F16;
  if constexpr (std::is_same_v<T, std::int64_t>) return DType::I64;
  if constexpr (std::is_same_v<T, std::int32_t>) return DType::I32;
  if constexpr (std::is_same_v<T, std::uint8_t>) return DType::U8;
}

class Shape {
 public:
  static constexpr std::size_t kMaxRank = 5;

  // Throws Error(InvalidArgument) if there are more than kMaxRank dimensions, one is negative, or
  // their product overflows.
  Shape(std::initializer_list<std::int64_t> dims) : Shape(std::span(dims.begin(), dims.size())) {}
  explicit Shape(std::span<const std::int64_t> dims);

  std::size_t rank() const { return rank_; }
  std::int64_t operator[](std::size_t axis) const { return dims_.at(axis); }
  std::int64_t last() const { return dims_.at(rank_ - 1); }
  std::int64_t count() const { return count_; }  // number of elements; 1 for rank 0
  std::string to_string() const;                 // "[8, 4096]"

  friend bool operator==(const Shape&, const Shape&) = default;

 private:
  std::array<std::int64_t, kMaxRank> dims_{};
  std::size_t rank_ = 0;
  std::int64_t count_ = 1;
};

// `Byte` is std::byte or const std::byte.
template <class Byte>
class BasicTensorView {
 public:
  BasicTensorView(Byte* data, DType dtype, Shape shape)
      : data_(data), dtype_(dtype), shape_(shape) {}

  // NOLINTNEXTLINE(google-explicit-constructor): a mutable view is a view.
  operator BasicTensorView<const std::byte>() const { return {data_, dtype_, shape_}; }

  Byte* data() const { return data_; }
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  std::size_t bytes() const { return static_cast<std::size_t>(shape_.count()) * size_of(dtype_); }

  // The elements. Throws Error(InvalidArgument) if they are not of type T.
  template <class T>
  auto as() const {
    using Value = std::conditional_t<std::is_const_v<Byte>, const T, T>;
    if (dtype_ != dtype_of<T>()) {
      throw Error(ErrorCode::InvalidArgument, "tensor: elements are " +
                                                  std::string(name_of(dtype_)) + ", not " +
                                                  std::string(name_of(dtype_of<T>())));
    }
    return std::span<Value>(reinterpret_cast<Value*>(data_),
                            static_cast<std::size_t>(shape_.count()));
  }

 private:
  Byte* data_;
  DType dtype_;
  Shape shape_;
};

using TensorView = BasicTensorView<const std::byte>;
using MutableTensorView = BasicTensorView<std::byte>;

// A view of host values, for tests and small parameters.
template <class T>
auto view_of(std::span<T> values, Shape shape) {
  using Byte = std::conditional_t<std::is_const_v<T>, const std::byte, std::byte>;
  ensure(values.size() == static_cast<std::size_t>(shape.count()),
         "view_of: shape does not fit values");
  return BasicTensorView<Byte>(reinterpret_cast<Byte*>(values.data()),
                               dtype_of<std::remove_const_t<T>>(), shape);
}

// Rows of F32 numbers that need not follow each other: row r starts at data + r * stride. This is
// what ops read and write, so that a slice of columns (the rope part of a query, one half of a
// fused projection) needs no copy.
template <class T>
struct BasicRows {
  T* data = nullptr;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t stride = 0;  // in elements, >= cols

  BasicRows() = default;
  BasicRows(T* first, std::int64_t row_count, std::int64_t col_count)
      : BasicRows(first, row_count, col_count, col_count) {}
  BasicRows(T* first, std::int64_t row_count, std::int64_t col_count, std::int64_t row_stride)
      : data(first), rows(row_count), cols(col_count), stride(row_stride) {}

  // NOLINTNEXTLINE(google-explicit-constructor): mutable rows are rows.
  operator BasicRows<const T>() const { return {data, rows, cols, stride}; }

  T* row(std::int64_t index) const { return data + index * stride; }
  // Columns [first, first + count) of every row.
  BasicRows columns(std::int64_t first, std::int64_t count) const {
    return {data + first, rows, count, stride};
  }
  BasicRows slice(std::int64_t first, std::int64_t count) const {
    return {data + first * stride, count, cols, stride};
  }
  // Every row cut into `parts` rows of cols / parts. Needs contiguous rows.
  BasicRows split(std::int64_t parts) const {
    ensure(stride == cols && cols % parts == 0, "rows: cannot split strided or uneven rows");
    return {data, rows * parts, cols / parts, cols / parts};
  }
};

using Rows = BasicRows<const float>;
using MutableRows = BasicRows<float>;

}  // namespace krasis
