// Which kernels a step's attention runs on, and how its work is cut: host arithmetic only.
//
// A "packed row" is a query of one head: the rows of a segment that share a key-value head are
// token * group + head of the group, so that they read keys together. A thread block takes one tile
// of packed rows of one segment and key-value head, and one of `splits` parts of its keys.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "cuda/launch.h"
#include "ops/attention.h"

namespace krasis::cuda {

enum class AttentionKernel : std::uint8_t {
  Any,           // every shape, F32
  Prompt,        // a warp owns its rows; keys and values of 64, 128 or 256
  PromptHopper,  // the same with the instructions of sm_90a; 128 or 256
  Decode,        // a block's warps share 16 rows; keys and values of 64, 128 or 256
  LatentSmall,   // 16 rows, 32 keys a turn
  LatentMedium,  // 64 rows, 32 keys a turn
  LatentLarge,   // 64 rows, 64 keys a turn
  LatentHopper,  // the same with the instructions of sm_90a
  DecodeNarrow,  // as Decode, of a cache of E4M3
  LatentNarrow,  // as LatentSmall, of a cache of E4M3
};

int tile_rows(AttentionKernel kernel);

// What one launch does: the segments of [least_rows, most_rows] rows.
struct AttentionPart {
  AttentionKernel kernel = AttentionKernel::Any;
  int least_rows = 1;
  int most_rows = 0;
  int row_tiles = 0;  // of a segment of most_rows
  int splits = 1;
  // Where a split's rows go: by the step's rows, or by segment and row in it, whichever is less.
  bool by_segment = false;
  std::int64_t partial_rows = 0;  // rows a split writes; 0 if there is only one
};

struct AttentionPlan {
  std::array<AttentionPart, 2> parts;
  int count = 0;  // of parts in use

  // With a cache of E4M3: segments of at least so many rows, and at most tables.max_rows, are in no
  // part. Each in its turn gets
  // its keys and values widened to BF16 in scratch memory, and attends over those. 0: none does.
  int widened_rows = 0;
  std::int64_t widened_tokens = 0;  // of the longest
  std::size_t widened_scratch = 0;  // bytes that attending takes beside the keys and values
};

// `scratch`: bytes that are free for what splits leave and for what is widened. Takes op.segments
// for host data only if the cache is of E4M3: whether and what is widened depends on them. Steps of
// one row a sequence widen nothing.
AttentionPlan plan_attention(const Attention& op, const StepTables& tables,
                             const DeviceProperties& device,
                             std::size_t scratch = std::numeric_limits<std::size_t>::max());

// Of all of the plan's parts together.
std::size_t scratch_bytes(const AttentionPlan& plan, std::int64_t value_dim);

// The cache of one sequence of `tokens` as it is when widened: one page, pointers to be set.
PagedKv widened_cache(const PagedKv& kv, std::int64_t tokens);
std::size_t key_bytes(const PagedKv& kv);
std::size_t value_bytes(const PagedKv& kv);  // 0: latent
// The tables of a segment alone, with the page table that widened_cache() is read by.
StepTables widened_tables(const StepTables& tables, std::size_t segment, const Segment& of,
                          const int* page_zero);

}  // namespace krasis::cuda
