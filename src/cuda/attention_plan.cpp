#include "cuda/attention_plan.h"

#include <algorithm>

namespace krasis::cuda {
namespace {

constexpr std::int64_t kFewPackedRows = 64;   // up to here sharing rows beats owning them
constexpr std::int64_t kLeastSplitKeys = 64;  // a part of fewer keys costs more than it saves
constexpr std::int64_t kMostSplits = 256;
// From here on reading keys and values once more, to widen them, costs less than widening them
// again for every 16 packed rows.
constexpr std::int64_t kWidenedPackedRows = 256;

std::int64_t divide_up(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

bool aligned(const void* pointer, std::uintptr_t bytes) {
  return reinterpret_cast<std::uintptr_t>(pointer) % bytes == 0;
}

// Tensor cores are fed with 16 bytes at a time, and write 8.
bool fits_tensor_cores(const Attention& op) {
  const PagedKv& kv = op.kv;
  const bool latent = kv.values == nullptr;
  const bool dims_fit = latent ? kv.key_dim == 576 && kv.value_dim == 512
                               : kv.key_dim == kv.value_dim &&
                                     (kv.key_dim == 64 || kv.key_dim == 128 || kv.key_dim == 256);
  const bool type_fits = kv.dtype == DType::BF16 || kv.dtype == DType::F8E4M3;
  return type_fits && dims_fit && aligned(kv.keys, 16) && aligned(kv.values, 16) &&
         aligned(op.queries.data, 16) && op.queries.stride % 4 == 0 && aligned(op.out.data, 8) &&
         op.out.stride % 2 == 0;
}

AttentionKernel many_rows_kernel(const Attention& op, const DeviceProperties& device) {
  constexpr int kHopper = 90;
  if (op.kv.values != nullptr) {
    return device.capability == kHopper && op.kv.key_dim >= 128 ? AttentionKernel::PromptHopper
                                                                : AttentionKernel::Prompt;
  }
  constexpr std::size_t kLarge = 225 * 1024;  // attention_shared.cu's tiles, and a kilobyte spare
  constexpr std::size_t kMedium = 154 * 1024;
  if (device.shared_bytes >= kLarge) {
    return device.capability == kHopper ? AttentionKernel::LatentHopper
                                        : AttentionKernel::LatentLarge;
  }
  return device.shared_bytes >= kMedium ? AttentionKernel::LatentMedium
                                        : AttentionKernel::LatentSmall;
}

// Blocks a multiprocessor that the keys are split for. More of the small ones would fit, but then
// combining the splits costs more than they gain.
std::int64_t blocks_at_once(AttentionKernel kernel, std::int64_t key_dim) {
  switch (kernel) {
    case AttentionKernel::DecodeNarrow:
      return key_dim == 256 ? 2 : 3;
    case AttentionKernel::Prompt:
    case AttentionKernel::Decode:
    case AttentionKernel::LatentSmall:
    case AttentionKernel::LatentNarrow:
      return 2;
    default:
      return 1;
  }
}

struct Sizes {
  std::int64_t group, kv_heads, segments, tokens, context, key_dim, value_dim;
  std::size_t scratch;

  Sizes(const Attention& op, const StepTables& tables, std::size_t scratch_bytes)
      : group(op.heads / op.kv.kv_heads),
        kv_heads(op.kv.kv_heads),
        segments(tables.segments),
        tokens(op.queries.rows / op.heads),
        context(tables.max_context),
        key_dim(op.kv.key_dim),
        value_dim(op.kv.value_dim),
        scratch(scratch_bytes) {}
};

constexpr std::size_t kStatistics = 2;  // numbers beside a partial row's values
constexpr std::size_t kAlignment = 256;

std::size_t split_bytes(std::int64_t partial_rows, std::int64_t value_dim) {
  return static_cast<std::size_t>(partial_rows) *
         (static_cast<std::size_t>(value_dim) + kStatistics) * sizeof(float);
}

AttentionPart cut(AttentionPart part, const Sizes& sizes, const DeviceProperties& device) {
  const std::int64_t rows = tile_rows(part.kernel);
  const std::int64_t tiles = divide_up(part.most_rows * sizes.group, rows);
  part.row_tiles = static_cast<int>(tiles);
  // Not every segment can have most_rows.
  const std::int64_t busy =
      std::min(tiles * sizes.segments, sizes.tokens * sizes.group / rows + sizes.segments);
  const std::int64_t wanted = device.multiprocessors * blocks_at_once(part.kernel, sizes.key_dim);
  const std::int64_t most = std::min(kMostSplits, divide_up(sizes.context, kLeastSplitKeys));
  part.splits = static_cast<int>(
      std::clamp(wanted / std::max<std::int64_t>(1, busy * sizes.kv_heads), std::int64_t{1}, most));
  if (part.splits == 1) return part;
  const std::int64_t compact = sizes.segments * part.most_rows;
  part.by_segment = compact <= sizes.tokens;
  part.partial_rows = std::min(compact, sizes.tokens) * sizes.group * sizes.kv_heads;
  // Two parts of a plan may need scratch memory.
  const std::size_t room = sizes.scratch / 2 - std::min(sizes.scratch / 2, 2 * kAlignment);
  const std::size_t fitting = room / split_bytes(part.partial_rows, sizes.value_dim);
  if (fitting < static_cast<std::size_t>(part.splits)) part.splits = static_cast<int>(fitting);
  if (part.splits >= 2) return part;
  part.splits = 1;
  part.by_segment = false;
  part.partial_rows = 0;
  return part;
}

// Whether scratch memory holds what the segments of at least `rows` rows need, one after the other.
bool plan_widening(AttentionPlan& plan, const Attention& op, const StepTables& tables,
                   const DeviceProperties& device, std::size_t scratch) {
  for (std::size_t s = 0; s < op.segments.size(); ++s) {
    const Segment& segment = op.segments[s];
    if (segment.rows < plan.widened_rows || segment.rows > tables.max_rows) continue;
    const std::int64_t tokens = segment.past + segment.rows;
    Attention one = op;
    one.kv = widened_cache(op.kv, tokens);
    one.kv.keys = op.kv.keys;  // as well aligned as any
    one.kv.values = op.kv.values;
    const AttentionPlan of_one =
        plan_attention(one, widened_tables(tables, s, segment, nullptr), device);
    plan.widened_tokens = std::max(plan.widened_tokens, tokens);
    plan.widened_scratch = std::max(plan.widened_scratch, scratch_bytes(of_one, op.kv.value_dim));
  }
  if (plan.widened_tokens == 0) return false;
  const PagedKv longest = widened_cache(op.kv, plan.widened_tokens);
  constexpr std::size_t kAlignments = 4 * 256;  // keys, values, page table, the rest
  return key_bytes(longest) + value_bytes(longest) + plan.widened_scratch + kAlignments <= scratch;
}

// A cache of E4M3.
AttentionPlan plan_narrow(const Attention& op, const StepTables& tables,
                          const DeviceProperties& device, std::size_t scratch) {
  const Sizes sizes(op, tables, scratch);
  const int most = static_cast<int>(std::max<std::int64_t>(1, kWidenedPackedRows / sizes.group));
  AttentionPlan plan;
  plan.widened_rows = most + 1;
  const bool widens = tables.max_rows > most && plan_widening(plan, op, tables, device, scratch);
  if (!widens) plan = {};
  if (widens && tables.segments == 1) return plan;
  const AttentionKernel kernel =
      op.kv.values == nullptr ? AttentionKernel::LatentNarrow : AttentionKernel::DecodeNarrow;
  const int most_rows = widens ? most : tables.max_rows;
  plan.parts[0] = cut({.kernel = kernel, .most_rows = most_rows}, sizes, device);
  plan.count = 1;
  return plan;
}

}  // namespace

int tile_rows(AttentionKernel kernel) {
  switch (kernel) {
    case AttentionKernel::Any:
      return 1;
    case AttentionKernel::Prompt:
    case AttentionKernel::PromptHopper:
      return 128;
    case AttentionKernel::Decode:
    case AttentionKernel::LatentSmall:
    case AttentionKernel::DecodeNarrow:
    case AttentionKernel::LatentNarrow:
      return 16;
    case AttentionKernel::LatentMedium:
    case AttentionKernel::LatentLarge:
    case AttentionKernel::LatentHopper:
      return 64;
  }
  return 1;
}

AttentionPlan plan_attention(const Attention& op, const StepTables& tables,
                             const DeviceProperties& device, std::size_t scratch) {
  AttentionPlan plan;
  if (op.queries.rows == 0 || tables.segments == 0 || tables.max_rows == 0) return plan;
  const auto add = [&](const AttentionPart& part) {
    plan.parts[static_cast<std::size_t>(plan.count++)] = part;
  };
  if (!fits_tensor_cores(op)) {
    add({.kernel = AttentionKernel::Any, .most_rows = tables.max_rows});
    return plan;
  }
  if (op.kv.dtype == DType::F8E4M3) return plan_narrow(op, tables, device, scratch);
  const Sizes sizes(op, tables, scratch);
  const AttentionKernel few_kernel =
      op.kv.values == nullptr ? AttentionKernel::LatentSmall : AttentionKernel::Decode;
  const int few = static_cast<int>(std::max<std::int64_t>(1, kFewPackedRows / sizes.group));
  const bool alone = tables.segments == 1 && tables.max_rows > few;
  if (!alone) {
    add(cut({.kernel = few_kernel, .most_rows = std::min(few, tables.max_rows)}, sizes, device));
  }
  if (tables.max_rows > few) {
    add(cut({.kernel = many_rows_kernel(op, device),
             .least_rows = alone ? 1 : few + 1,
             .most_rows = tables.max_rows},
            sizes, device));
  }
  return plan;
}

std::size_t scratch_bytes(const AttentionPlan& plan, std::int64_t value_dim) {
  std::size_t bytes = 0;
  for (const AttentionPart& part : plan.parts) {
    bytes += static_cast<std::size_t>(part.splits) * split_bytes(part.partial_rows, value_dim) +
             2 * kAlignment;
  }
  return bytes;
}

PagedKv widened_cache(const PagedKv& kv, std::int64_t tokens) {
  PagedKv widened = kv;
  widened.dtype = DType::BF16;
  widened.pages = 1;
  widened.page_tokens = tokens;
  return widened;
}

std::size_t key_bytes(const PagedKv& kv) {
  return static_cast<std::size_t>(kv.pages * kv.kv_heads * kv.page_tokens * kv.key_dim) *
         size_of(kv.dtype);
}

std::size_t value_bytes(const PagedKv& kv) {
  if (kv.values == nullptr) return 0;
  return static_cast<std::size_t>(kv.pages * kv.kv_heads * kv.page_tokens * kv.value_dim) *
         size_of(kv.dtype);
}

StepTables widened_tables(const StepTables& tables, std::size_t segment, const Segment& of,
                          const int* page_zero) {
  StepTables one = tables;
  one.segments = 1;
  one.max_rows = static_cast<int>(of.rows);
  one.max_context = static_cast<int>(of.past + of.rows);
  one.first_row = tables.first_row + segment;
  one.rows = tables.rows + segment;
  one.past = tables.past + segment;
  one.slot = tables.slot + segment;
  one.pages = page_zero;
  one.page_stride = 1;
  return one;
}

}  // namespace krasis::cuda
