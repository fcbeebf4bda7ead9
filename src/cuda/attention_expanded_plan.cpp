#include "cuda/attention_expanded_plan.h"

#include <algorithm>

namespace krasis::cuda {
namespace {

constexpr std::int64_t kMostTiles = 1024;   // beyond, a turn more or less is nothing
constexpr std::int64_t kLeastBlock = 1024;  // below, starting kernels takes longer than they run
constexpr std::size_t kCublasBytes = std::size_t{33} << 20;  // cublaslt.h's, and alignments

// Turns in which `places` do `count` pieces of work.
std::int64_t turns(std::int64_t count, std::int64_t places) {
  return (count + places - 1) / places;
}

bool lies_at(const void* pointer, std::uintptr_t bytes) {
  return reinterpret_cast<std::uintptr_t>(pointer) % bytes == 0;
}

bool fits(const Matrix& weight, std::int64_t rows, std::int64_t columns) {
  if (weight.rows != rows || weight.columns != columns) return false;
  return weight.format == Matrix::Format::Tiles ||
         (weight.format == Matrix::Format::BF16 && lies_at(weight.data, 16));
}

bool fits(const AttentionOverLatents& op) {
  const PagedKv& kv = op.kv;
  const bool type_fits = kv.dtype == DType::BF16 || kv.dtype == DType::F8E4M3;
  return type_fits && kv.kv_heads == 1 && kv.value_dim == kExpandedLatent &&
         kv.key_dim == kExpandedLatent + kExpandedRope && op.queries.cols == kExpandedNope &&
         op.out.cols == kExpandedValue &&
         fits(op.key_up, op.heads * kExpandedLatent, kExpandedNope) &&
         fits(op.value_up, op.heads * kExpandedValue, kExpandedLatent) && lies_at(kv.keys, 16) &&
         lies_at(op.queries.data, 16) && op.queries.stride % 4 == 0 &&
         lies_at(op.absorbed.data, 16) && op.absorbed.stride % 4 == 0 && lies_at(op.out.data, 8) &&
         op.out.stride % 2 == 0;
}

std::size_t dequantized_bytes(const Matrix& weight) {
  if (weight.format != Matrix::Format::Tiles) return 0;
  const TileShape& shape = weight.tiles->shape;
  return static_cast<std::size_t>(shape.strips() * kStripRows * shape.padded_columns) * 2;
}

// Tokens that scratch memory holds, in whole tiles, beside what does not grow with them.
std::int64_t tokens_in(std::size_t scratch, const AttentionOverLatents& op,
                       std::int64_t most_rows) {
  constexpr std::int64_t kLimitBytes = 8;  // of a row and head, between blocks
  const std::size_t fixed = kCublasBytes + dequantized_bytes(op.key_up) +
                            dequantized_bytes(op.value_up) +
                            static_cast<std::size_t>(most_rows * op.heads * kLimitBytes);
  const std::int64_t token =
      2 * (op.kv.key_dim + op.heads * (kExpandedNope + kExpandedValue));  // bytes
  const auto room = static_cast<std::int64_t>(scratch - std::min(scratch, fixed));
  return room / token / kExpandedTile * kExpandedTile;
}

}  // namespace

std::int64_t least_expanded_rows(std::int64_t heads, std::int64_t multiprocessors) {
  // All for one token of the context and, but for a thread block's, times the multiprocessors.
  const std::int64_t absorbed_row = 2 * (2 * kExpandedLatent + kExpandedRope) * heads;
  const std::int64_t expansion = 2 * kExpandedLatent * (kExpandedNope + kExpandedValue) * heads;
  const std::int64_t block = 2 * (kExpandedNope + kExpandedRope + kExpandedValue) * kExpandedTile;
  std::int64_t least = 1;
  for (std::int64_t tiles = 1; tiles <= kMostTiles; ++tiles) {
    const std::int64_t cost =
        turns(tiles * heads, multiprocessors) * block * multiprocessors + expansion;
    const std::int64_t most_absorbed = cost / absorbed_row;
    if (most_absorbed > (tiles - 1) * kExpandedTile)
      least = std::min(most_absorbed, tiles * kExpandedTile) + 1;
  }
  return least;
}

ExpandedPlan plan_expanded(const AttentionOverLatents& op, const StepTables& tables,
                           const DeviceProperties& device, bool has_cublas, std::size_t scratch) {
  constexpr int kHopper = 90;
  if (device.capability != kHopper || !has_cublas || tables.max_rows <= 1 || !fits(op)) return {};
  const std::int64_t least = least_expanded_rows(op.heads, device.multiprocessors);
  if (tables.max_rows < least) return {};
  const std::int64_t context = turns(tables.max_context, kExpandedTile) * kExpandedTile;
  const std::int64_t fitting = tokens_in(scratch, op, tables.max_rows);
  if (fitting < std::min(kLeastBlock, context)) return {};
  return {.least_rows = least, .block_tokens = std::min(fitting, context)};
}

}  // namespace krasis::cuda
