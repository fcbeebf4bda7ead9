// Cuts the step's segments into chunks of a fixed number of rows, on the device and without a scan:
// chunk c of segment s has the number first_row(s) / size + s + c. The numbers ascend without
// overlap, with at most one hole a segment, and stay below chunk_numbers().
#pragma once

#include "cuda/launch.h"

namespace krasis::cuda {

inline int chunk_numbers(const StepTables& tables, int size) {
  return (tables.tokens + size - 1) / size + tables.segments - 1;
}

struct Chunk {
  int segment = 0;
  int begin = 0;  // row within the segment
  int rows = 0;   // of this chunk; <= 0: no such chunk
};

__device__ inline int first_chunk(const StepTables& tables, int segment, int size) {
  return tables.first_row[segment] / size + segment;
}

__device__ inline Chunk find_chunk(const StepTables& tables, int number, int size) {
  int low = 0;
  int high = tables.segments - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (first_chunk(tables, middle, size) <= number) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  const int begin = (number - first_chunk(tables, low, size)) * size;
  const int left = tables.rows[low] - begin;
  // Before the first segment there are numbers too.
  return {low, begin, begin < 0 ? 0 : (left < size ? left : size)};
}

}  // namespace krasis::cuda
