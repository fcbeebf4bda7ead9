// A paged cache of random numbers and the segments of a step on it.
#pragma once

#include <numeric>

#include "base/float8.h"
#include "conformance/support.h"

namespace krasis::test {

struct AttentionShape {
  std::int64_t heads, kv_heads, key_dim, value_dim, page_tokens;
  bool latent;
};

struct Sequence {
  std::int64_t rows, past;
};

// A cache filled with random numbers, with the sequences' pages strewn over it.
class PagedCache {
 public:
  PagedCache(const AttentionShape& shape, DType dtype, const std::vector<Sequence>& sequences) {
    std::int64_t pages = 3;  // that nobody uses
    std::int64_t first_row = 1;
    for (const Sequence& sequence : sequences) {
      const std::int64_t length = sequence.past + sequence.rows;
      page_tables_.emplace_back(
          static_cast<std::size_t>((length + shape.page_tokens - 1) / shape.page_tokens));
      pages += static_cast<std::int64_t>(page_tables_.back().size());
    }
    std::vector<std::int32_t> numbers(static_cast<std::size_t>(pages));
    std::iota(numbers.begin(), numbers.end(), 0);
    std::shuffle(numbers.begin(), numbers.end(), std::mt19937(5));
    for (std::size_t s = 0; s < sequences.size(); ++s) {
      for (std::int32_t& page : page_tables_[s]) {
        page = numbers.back();
        numbers.pop_back();
      }
      segments.push_back({.first_row = first_row,
                          .rows = sequences[s].rows,
                          .past = sequences[s].past,
                          .slot = 0,
                          .pages = page_tables_[s]});
      first_row += sequences[s].rows + 1;  // a row in between belongs to nobody
    }
    tokens = first_row;
    const std::int64_t rows = pages * shape.kv_heads * shape.page_tokens;
    fill(keys_, rows * shape.key_dim, dtype, 1);
    if (!shape.latent) fill(values_, rows * shape.value_dim, dtype, 2);
    kv = {.keys = keys_.data(),
          .values = shape.latent ? nullptr : values_.data(),
          .dtype = dtype,
          .pages = pages,
          .page_tokens = shape.page_tokens,
          .kv_heads = shape.kv_heads,
          .key_dim = shape.key_dim,
          .value_dim = shape.value_dim};
  }
  PagedCache(const PagedCache&) = delete;
  PagedCache& operator=(const PagedCache&) = delete;

  std::vector<std::byte> bytes() const {
    std::vector<std::byte> all = keys_;
    all.insert(all.end(), values_.begin(), values_.end());
    return all;
  }

  PagedKv kv;
  std::vector<Segment> segments;
  std::int64_t tokens = 0;  // rows of the step

 private:
  static void fill(std::vector<std::byte>& bytes, std::int64_t count, DType dtype, unsigned seed) {
    bytes.resize(static_cast<std::size_t>(count) * size_of(dtype));
    std::byte* next = bytes.data();
    for (const float value : normal_values(count, seed)) {
      const bf16 half = to_bf16(value);
      const e4m3 quarter = to_e4m3(value);
      const void* number = &value;
      if (dtype == DType::BF16) number = &half;
      if (dtype == DType::F8E4M3) number = &quarter;
      std::memcpy(next, number, size_of(dtype));
      next += size_of(dtype);
    }
  }
  std::vector<std::byte> keys_, values_;
  std::vector<std::vector<std::int32_t>> page_tables_;
};

}  // namespace krasis::test
