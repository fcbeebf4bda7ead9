// Which segments attend over latents in the expanded form (ops/latent_attention.h), and how much of
// a context is expanded at a time: host arithmetic only.
//
// The absorbed form takes 2 * (2 latent + rope) operations for a query, a head and a key, the
// expanded form 2 * (nope + rope + value), and 2 * latent * (nope + value) more for a head and a
// token of the context, new or old: it pays where many rows meet every token.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/launch.h"
#include "ops/latent_attention.h"

namespace krasis::cuda {

// Of a head: what the kernels of the expanded form are made for.
constexpr std::int64_t kExpandedLatent = 512;
constexpr std::int64_t kExpandedNope = 128;
constexpr std::int64_t kExpandedRope = 64;
constexpr std::int64_t kExpandedValue = 128;
constexpr std::int64_t kExpandedTile = 128;  // rows of a thread block, and keys of a turn

// Rows of a segment from which on the expanded form takes fewer operations of the busiest
// multiprocessor, however long the context: a tile of rows and a head is one thread block's.
std::int64_t least_expanded_rows(std::int64_t heads, std::int64_t multiprocessors);

struct ExpandedPlan {
  std::int64_t least_rows = 0;    // segments of at least so many rows are expanded; 0: none is
  std::int64_t block_tokens = 0;  // of a context that are expanded at a time, in whole tiles
};

// `scratch`: bytes that are free for expanded tokens. Segments of fewer rows, or all of them where
// shapes, formats or the device do not fit, are left to the absorbed form.
ExpandedPlan plan_expanded(const AttentionOverLatents& op, const StepTables& tables,
                           const DeviceProperties& device, bool has_cublas, std::size_t scratch);

}  // namespace krasis::cuda
