// The highest logits of each row: what a sampler needs of them in most requests.
#pragma once

#include <cstdint>
#include <span>

#include "tensor/tensor.h"

namespace krasis {

constexpr std::int64_t kMostTopLogits = 64;

// ids[r, j] and values[r, j]: the column of row r's j-th highest number and the number itself; the
// lower column first among equals. NaN and +infinity are equals above all other numbers, so that
// a row that cannot be sampled from shows it in its first place.
struct TopLogits {
  Rows logits;                  // [rows, vocab]
  std::int64_t count = 0;       // 1 to min(vocab, kMostTopLogits)
  std::span<std::int32_t> ids;  // [rows * count]
  std::span<float> values;      // [rows * count]
};

void check(const TopLogits& op);

}  // namespace krasis
