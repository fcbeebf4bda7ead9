// Causal attention over a paged key-value cache.
#pragma once

#include <span>

#include "tensor/tensor.h"

namespace krasis {

// The tokens of one sequence in a step: rows [first_row, first_row + rows) of the step's tokens are
// the sequence's tokens [past, past + rows). Segments ascend and do not overlap; one of no rows
// does nothing; rows in no segment are left as they are. No two segments with rows share a slot, or
// a page that either writes.
struct Segment {
  std::int64_t first_row = 0;
  std::int64_t rows = 0;
  std::int64_t past = 0;                // tokens that were there before this step
  std::int64_t slot = 0;                // which recurrent state is the sequence's
  std::span<const std::int32_t> pages;  // page of token i: pages[i / page_tokens]
};

// One layer's cache. Keys of page p, head h, token i of the page start at
// ((p * kv_heads + h) * page_tokens + i) * key_dim elements; values likewise with value_dim.
// values == nullptr: a token's value is the first value_dim numbers of its key (latent attention).
struct PagedKv {
  std::byte* keys = nullptr;
  std::byte* values = nullptr;
  // BF16; F8E4M3 (base/float8.h), whose numbers are kept as they are, without a scale; or F32 where
  // results are compared number by number
  DType dtype = DType::BF16;
  std::int64_t pages = 0;
  std::int64_t page_tokens = 0;
  std::int64_t kv_heads = 0;
  std::int64_t key_dim = 0;
  std::int64_t value_dim = 0;
};

// Writes the step's keys and values where the segments say. Rounds to the cache's type.
struct KvAppend {
  Rows keys;    // [tokens * kv_heads, key_dim]
  Rows values;  // [tokens * kv_heads, value_dim], or no rows if kv.values == nullptr
  PagedKv kv;
  std::span<const Segment> segments;
};

// For each query of token at position p of its sequence, and head h with kv head h /
// (heads/kv_heads):
//   out = sum_{i <= p} softmax_i(scale * q . key_i) * value_i
// The step's own keys have been appended before.
struct Attention {
  Rows queries;  // [tokens * heads, key_dim]
  PagedKv kv;
  std::span<const Segment> segments;
  std::int64_t heads = 0;  // a multiple of kv_heads
  float scale = 1;
  MutableRows out;  // [tokens * heads, value_dim]
};

void check(const KvAppend& op);
void check(const Attention& op);

}  // namespace krasis
