// Operands of the calls that are timed.
#pragma once

#include <numeric>
#include <span>
#include <vector>

#include "cuda_meter.h"
#include "ops/attention.h"

namespace krasis::bench {

constexpr double kFloat = sizeof(float);

inline double real(std::int64_t count) {
  return static_cast<double>(count);
}

// Several blocks of rows [rows, columns].
struct RowsSet {
  RowsSet(Meter& meter, int count, std::int64_t row_count, std::int64_t column_count)
      : data(meter.floats(count * row_count * column_count)),
        rows(row_count),
        columns(column_count) {}
  MutableRows operator[](int index) const { return {data + index * rows * columns, rows, columns}; }
  std::span<const float> vector() const { return {data, static_cast<std::size_t>(columns)}; }
  double bytes() const { return real(rows * columns) * kFloat; }

  float* data;
  std::int64_t rows, columns;
};

// Sequences of equal length, each with its own pages.
struct Sequences {
  static constexpr std::int64_t kPageTokens = 64;

  Sequences(std::int64_t sequences, std::int64_t rows, std::int64_t context)
      : pages((context + kPageTokens - 1) / kPageTokens),
        table(static_cast<std::size_t>(sequences * pages)) {
    std::iota(table.begin(), table.end(), 0);
    for (std::int64_t s = 0; s < sequences; ++s) {
      segments.push_back({.first_row = s * rows,
                          .rows = rows,
                          .past = context - rows,
                          .slot = s,
                          .pages = std::span(table).subspan(static_cast<std::size_t>(s * pages),
                                                            static_cast<std::size_t>(pages))});
    }
  }

  std::int64_t pages;  // of a sequence
  std::vector<std::int32_t> table;
  std::vector<Segment> segments;
};

}  // namespace krasis::bench
