// What the checks of all operations have in common. Private to this folder.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "ops/attention.h"
#include "ops/matrix.h"
#include "ops/product_rows.h"
#include "tensor/tensor.h"

namespace krasis::ops_check {

// "[3, 128]"
std::string shape_of(const Rows& rows);
std::string shape_of(const Matrix& matrix);

[[noreturn]] void fail(const char* operation, const std::string& what);

// Throws Error(InvalidArgument) "operation: what" unless `condition`. The text is made only then.
template <class Text>
void require(bool condition, const char* operation, Text&& text) {
  if (!condition) fail(operation, text());
}

// Rows that can be read: no negative size, stride >= cols, data where there are elements, and an
// extent that fits the address space.
void rows(const char* operation, const char* name, const Rows& rows);

// The same for rows in any form; those that are not F32 follow each other.
void product_rows(const char* operation, const char* name, const ProductRows& rows);

// The elements of `out` and `in` do not overlap, or - where `in_place` allows it - are the same.
enum class InPlace : bool { No, Yes };
void distinct(const char* operation, const char* out_name, const MutableRows& out,
              const char* in_name, const Rows& in, InPlace in_place);
// Only F32 may take the place of F32.
inline InPlace in_place(const MutableProductRows& out) {
  return out.form == RowForm::F32 ? InPlace::Yes : InPlace::No;
}
// A span as one row, for distinct().
Rows row_of(std::span<const float> values);

// True if some element belongs to both.
bool overlap(const Rows& a, const Rows& b);

// A matrix that can be read; `rows` and `columns` are what the caller needs of it.
void matrix(const char* operation, const char* name, const Matrix& matrix);

// Segments inside [0, tokens), ascending and without overlap, nothing negative.
void segments(const char* operation, std::span<const Segment> segments, std::int64_t tokens);

// Every segment's slot is in [0, slots) and no two segments with rows share one.
void slots(const char* operation, std::span<const Segment> segments, std::int64_t slots);

}  // namespace krasis::ops_check
