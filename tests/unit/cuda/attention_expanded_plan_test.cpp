#include "cuda/attention_expanded_plan.h"

#include <cmath>
#include <gtest/gtest.h>
#include <vector>

namespace krasis::cuda {
namespace {

constexpr int kMultiprocessors = 132;
constexpr DeviceProperties kDevice = {.multiprocessors = kMultiprocessors,
                                      .capability = 90,
                                      .shared_bytes = 227 * 1024,
                                      .l2_bytes = 0};
constexpr std::size_t kGigabyte = std::size_t{1} << 30;

alignas(16) float elements[4];

AttentionOverLatents over_latents(std::int64_t tokens, std::int64_t heads = 16) {
  auto* const bytes = reinterpret_cast<std::byte*>(elements);
  const auto matrix = [&](std::int64_t rows, std::int64_t columns) {
    return Matrix{.format = Matrix::Format::BF16,
                  .rows = rows,
                  .columns = columns,
                  .data = bytes,
                  .tiles = {}};
  };
  return {.queries = Rows(elements, tokens * heads, 128, 192),
          .absorbed = MutableRows(elements, tokens * heads, 576),
          .mixed = MutableRows(elements, tokens * heads, 512),
          .key_up = matrix(heads * 512, 128),
          .value_up = matrix(heads * 128, 512),
          .kv = {.keys = bytes,
                 .pages = 1,
                 .page_tokens = 64,
                 .kv_heads = 1,
                 .key_dim = 576,
                 .value_dim = 512},
          .segments = {},
          .heads = heads,
          .scale = 1,
          .out = MutableRows(elements, tokens * heads, 128)};
}

StepTables step_of(int max_rows, int max_context) {
  StepTables step;
  step.segments = 1;
  step.tokens = max_rows;
  step.max_rows = max_rows;
  step.max_context = max_context;
  return step;
}

ExpandedPlan plan_of(const AttentionOverLatents& op, int rows, int context,
                     const DeviceProperties& device = kDevice, std::size_t scratch = kGigabyte) {
  return plan_expanded(op, step_of(rows, context), device, true, scratch);
}

// Operations for one token of the context, of the busiest multiprocessor.
double absorbed_cost(double rows, double heads) {
  return rows * heads * 2 * (512 + 64 + 512) / kMultiprocessors;
}
double expanded_cost(double rows, double heads) {
  const double blocks = std::ceil(rows / 128) * heads;
  return std::ceil(blocks / kMultiprocessors) * 128 * 2 * (128 + 64 + 128) +
         2 * 512 * (128 + 128) * heads / kMultiprocessors;
}

TEST(ExpandedPlan, ExpandsFromWhereItTakesFewerOperations) {
  for (const int heads : {2, 16, 64, 128}) {
    const std::int64_t least = least_expanded_rows(heads, kMultiprocessors);
    const auto is_less = [&](std::int64_t rows) {
      const auto count = static_cast<double>(rows);
      return expanded_cost(count, heads) < absorbed_cost(count, heads);
    };
    EXPECT_FALSE(is_less(least - 1)) << heads << " heads, " << least - 1 << " rows";
    for (std::int64_t rows = least; rows <= 16384; ++rows)
      ASSERT_TRUE(is_less(rows)) << heads << " heads, " << rows << " rows";
  }
  EXPECT_EQ(least_expanded_rows(16, kMultiprocessors), 432);
  EXPECT_EQ(least_expanded_rows(128, kMultiprocessors), 199);
}

TEST(ExpandedPlan, StepsAndShortPromptsStayAbsorbed) {
  EXPECT_EQ(plan_of(over_latents(1), 1, 32768).least_rows, 0);
  EXPECT_EQ(plan_of(over_latents(431), 431, 32768).least_rows, 0);
  EXPECT_EQ(plan_of(over_latents(432), 432, 32768).least_rows, 432);
}

TEST(ExpandedPlan, ExpandsAsMuchOfTheContextAsScratchMemoryHolds) {
  const AttentionOverLatents op = over_latents(8192);
  EXPECT_EQ(plan_of(op, 8192, 32769).block_tokens, 32896);
  // 33 MiB for products, 1 MiB for what is kept between blocks, then 9,344 bytes a token.
  const std::size_t fixed = std::size_t{34} << 20;
  EXPECT_EQ(plan_of(op, 8192, 32768, kDevice, fixed + 9344 * 4096).block_tokens, 4096);
  EXPECT_EQ(plan_of(op, 8192, 32768, kDevice, fixed + 9344 * 4096 - 1).block_tokens, 4096 - 128);
  EXPECT_EQ(plan_of(op, 8192, 32768, kDevice, fixed + 9344 * 1000).least_rows, 0);
  EXPECT_EQ(plan_of(op, 512, 512, kDevice, fixed + 9344 * 1000).block_tokens, 512);
  EXPECT_EQ(plan_of(op, 8192, 32768, kDevice, 1000).least_rows, 0);
}

TEST(ExpandedPlan, OtherShapesAndDevicesStayAbsorbed) {
  const auto expands = [](const AttentionOverLatents& op, const DeviceProperties& device) {
    return plan_of(op, 8192, 8192, device).least_rows > 0;
  };
  EXPECT_TRUE(expands(over_latents(8192), kDevice));
  DeviceProperties other = kDevice;
  for (const int capability : {80, 89, 100, 120}) {
    other.capability = capability;
    EXPECT_FALSE(expands(over_latents(8192), other)) << capability;
  }
  EXPECT_EQ(
      plan_expanded(over_latents(8192), step_of(8192, 8192), kDevice, false, kGigabyte).least_rows,
      0)
      << "without cuBLASLt";
  AttentionOverLatents op = over_latents(8192);
  op.kv.dtype = DType::F8E4M3;
  EXPECT_TRUE(expands(op, kDevice));
  op.kv.dtype = DType::F32;
  EXPECT_FALSE(expands(op, kDevice));
  op = over_latents(8192);
  op.kv.key_dim = 544;
  EXPECT_FALSE(expands(op, kDevice));
  op = over_latents(8192);
  op.key_up.format = Matrix::Format::F16;
  EXPECT_FALSE(expands(op, kDevice));
  op = over_latents(8192);
  op.queries.stride = 193;
  EXPECT_FALSE(expands(op, kDevice));
  op = over_latents(8192);
  op.out.data += 1;
  EXPECT_FALSE(expands(op, kDevice));
}

}  // namespace
}  // namespace krasis::cuda
