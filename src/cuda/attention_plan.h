// Which kernels a step's attention runs on, and how its work is cut: host arithmetic only.
//
// A "packed row" is a query of one head: the rows of a segment that share a key-value head are
// token * group + head of the group, so that they read keys together. A thread block takes one tile
// of packed rows of one segment and key-value head, and one of `splits` parts of its keys.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

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
};

AttentionPlan plan_attention(const Attention& op, const StepTables& tables,
                             const DeviceProperties& device);

// Of all of the plan's parts together.
std::size_t scratch_bytes(const AttentionPlan& plan, std::int64_t value_dim);

}  // namespace krasis::cuda
