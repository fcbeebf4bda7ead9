// Rows that nothing but products reads. Where a backend multiplies numbers of 16 bits, who writes
// such rows writes them as those at once, and nobody converts them (Ops::form_for()).
#pragma once

#include <concepts>

#include "base/float16.h"
#include "tensor/tensor.h"

namespace krasis {

// What the memory of the rows holds, the least first. high = the number rounded to BF16, low = what
// the rounding took away, rounded; their sum has 16 bits.
enum class RowForm : std::uint8_t {
  High,     // high [rows, cols]
  HighLow,  // high [rows, cols], and behind it low [rows, cols]: as many bytes as F32
  F32,
};

// In a form other than F32 the rows follow each other, and data and stride mean nothing to who
// reads F32 numbers.
template <class T>
struct BasicProductRows : BasicRows<T> {
  using Half = std::conditional_t<std::is_const_v<T>, const bf16, bf16>;

  RowForm form = RowForm::F32;

  using BasicRows<T>::BasicRows;  // of F32
  // NOLINTNEXTLINE(google-explicit-constructor): rows of F32 are rows for products.
  BasicProductRows(const BasicRows<T>& given, RowForm given_form = RowForm::F32)
      : BasicRows<T>(given), form(given_form) {}
  // NOLINTNEXTLINE(google-explicit-constructor): mutable rows are rows.
  template <std::same_as<std::remove_const_t<T>> Mutable>
  BasicProductRows(const BasicRows<Mutable>& given) : BasicRows<T>(given) {}
  // NOLINTNEXTLINE(google-explicit-constructor): mutable rows are rows.
  template <std::same_as<std::remove_const_t<T>> Mutable>
  BasicProductRows(const BasicProductRows<Mutable>& given)
      : BasicRows<T>(given), form(given.form) {}

  Half* high() const { return form == RowForm::F32 ? nullptr : halves(); }
  Half* low() const {
    return form == RowForm::HighLow ? halves() + this->rows * this->cols : nullptr;
  }

 private:
  Half* halves() const { return reinterpret_cast<Half*>(this->data); }
};

using ProductRows = BasicProductRows<const float>;
using MutableProductRows = BasicProductRows<float>;

}  // namespace krasis
