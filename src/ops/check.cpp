#include "ops/check.h"

#include <algorithm>
#include <limits>

namespace krasis::ops_check {
namespace {

// Elements from the first of row 0 to the last of the last row.
std::int64_t extent(const Rows& r) {
  return r.rows == 0 || r.cols == 0 ? 0 : (r.rows - 1) * r.stride + r.cols;
}

// Both start in one array; `offset` = b - a in elements, >= 0. With one stride, row j of b meets
// row i of a only if i - j is one of two neighbours.
bool overlap_same_stride(const Rows& a, const Rows& b, std::int64_t offset) {
  const std::int64_t skipped = offset / a.stride;
  const std::int64_t column = offset % a.stride;
  const bool meets_first = column < a.cols && skipped < a.rows;
  const bool meets_next = column + b.cols > a.stride && skipped + 1 < a.rows;
  return meets_first || meets_next;
}

bool overlap_any_stride(const Rows& a, const Rows& b) {
  std::int64_t i = 0;
  std::int64_t j = 0;
  while (i < a.rows && j < b.rows) {
    const float* first = a.row(i);
    const float* second = b.row(j);
    if (first < second + b.cols && second < first + a.cols) return true;
    if (first < second) {
      ++i;
    } else {
      ++j;
    }
  }
  return false;
}

const char* format_name(Matrix::Format format) {
  switch (format) {
    case Matrix::Format::F32:
      return "F32";
    case Matrix::Format::BF16:
      return "BF16";
    case Matrix::Format::F16:
      return "F16";
    case Matrix::Format::Tiles:
      return "tiles";
  }
  return "unknown format";
}

}  // namespace

std::string shape_of(const Rows& rows) {
  return "[" + std::to_string(rows.rows) + ", " + std::to_string(rows.cols) + "]";
}

std::string shape_of(const Matrix& matrix) {
  return "[" + std::to_string(matrix.rows) + ", " + std::to_string(matrix.columns) + "]";
}

void fail(const char* operation, const std::string& what) {
  throw Error(ErrorCode::InvalidArgument, std::string(operation) + ": " + what);
}

void rows(const char* operation, const char* name, const Rows& rows) {
  require(rows.rows >= 0 && rows.cols >= 0, operation,
          [&] { return std::string(name) + " " + shape_of(rows) + " has a negative dimension"; });
  if (rows.rows == 0 || rows.cols == 0) return;
  require(rows.stride >= rows.cols, operation, [&] {
    return std::string(name) + " " + shape_of(rows) + " has a stride of " +
           std::to_string(rows.stride) + ", less than its columns";
  });
  std::int64_t elements = 0;
  const bool too_large = __builtin_mul_overflow(rows.rows, rows.stride, &elements) ||
                         elements > std::numeric_limits<std::int64_t>::max() / 8;
  require(!too_large, operation, [&] {
    return std::string(name) + " " + shape_of(rows) + " with a stride of " +
           std::to_string(rows.stride) + " is larger than memory can be";
  });
  require(rows.data != nullptr, operation,
          [&] { return std::string(name) + " " + shape_of(rows) + " has no data"; });
}

void product_rows(const char* operation, const char* name, const ProductRows& given) {
  rows(operation, name, given);
  require(given.form == RowForm::F32 || given.stride == given.cols, operation, [&] {
    return std::string(name) + " " + shape_of(given) + " has a stride of " +
           std::to_string(given.stride) + ", but is not F32";
  });
}

Rows row_of(std::span<const float> values) {
  return {values.data(), 1, static_cast<std::int64_t>(values.size())};
}

bool overlap(const Rows& a, const Rows& b) {
  const std::int64_t a_extent = extent(a);
  const std::int64_t b_extent = extent(b);
  if (a_extent == 0 || b_extent == 0) return false;
  if (a.data + a_extent <= b.data || b.data + b_extent <= a.data) return false;
  if (a.rows > 1 && b.rows > 1 && a.stride == b.stride) {
    return a.data <= b.data ? overlap_same_stride(a, b, b.data - a.data)
                            : overlap_same_stride(b, a, a.data - b.data);
  }
  return overlap_any_stride(a, b);
}

void distinct(const char* operation, const char* out_name, const MutableRows& out,
              const char* in_name, const Rows& in, InPlace in_place) {
  const bool same = out.data == in.data && out.cols == in.cols && out.rows == in.rows &&
                    (out.stride == in.stride || out.rows <= 1);
  if (same && in_place == InPlace::Yes) return;
  require(!overlap(out, in), operation, [&] {
    return std::string(out_name) + " overlaps " + in_name +
           (in_place == InPlace::Yes ? " without being the same rows" : "");
  });
}

void matrix(const char* operation, const char* name, const Matrix& matrix) {
  const auto text = [&](const char* what) {
    return [&, what] {
      return std::string(name) + " " + shape_of(matrix) + " (" + format_name(matrix.format) + ") " +
             what;
    };
  };
  require(matrix.rows > 0 && matrix.columns > 0, operation, text("has no elements"));
  if (matrix.format != Matrix::Format::Tiles) {
    require(matrix.data != nullptr, operation, text("has no data"));
    return;
  }
  require(
      matrix.tiles.has_value() && matrix.tiles->tiles != nullptr && matrix.tiles->scales != nullptr,
      operation, text("has no data"));
  require(matrix.tiles->shape.rows == matrix.rows && matrix.tiles->shape.columns == matrix.columns,
          operation, text("does not have its tiles' shape"));
}

void segments(const char* operation, std::span<const Segment> segments, std::int64_t tokens) {
  std::int64_t end = 0;
  for (std::size_t s = 0; s < segments.size(); ++s) {
    const Segment& segment = segments[s];
    const bool fits = segment.first_row >= end && segment.rows >= 0 && segment.past >= 0 &&
                      segment.first_row <= tokens && segment.rows <= tokens - segment.first_row &&
                      segment.past <= std::numeric_limits<std::int32_t>::max();
    require(fits, operation, [&] {
      return "segment " + std::to_string(s) + " (first_row " + std::to_string(segment.first_row) +
             ", rows " + std::to_string(segment.rows) + ", past " + std::to_string(segment.past) +
             ") is not in [" + std::to_string(end) + ", " + std::to_string(tokens) + ")";
    });
    end = segment.first_row + segment.rows;
  }
}

void slots(const char* operation, std::span<const Segment> segments, std::int64_t slots) {
  for (std::size_t s = 0; s < segments.size(); ++s) {
    require(segments[s].slot >= 0 && segments[s].slot < slots, operation, [&] {
      return "slot " + std::to_string(segments[s].slot) + " of segment " + std::to_string(s) +
             " is not in [0, " + std::to_string(slots) + ")";
    });
    for (std::size_t other = 0; other < s; ++other) {
      const bool shared = segments[s].slot == segments[other].slot && segments[s].rows > 0 &&
                          segments[other].rows > 0;
      require(!shared, operation, [&] {
        return "segments " + std::to_string(other) + " and " + std::to_string(s) + " share slot " +
               std::to_string(segments[s].slot);
      });
    }
  }
}

}  // namespace krasis::ops_check
