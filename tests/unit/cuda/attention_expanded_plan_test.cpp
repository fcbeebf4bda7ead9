#include "cuda/attention_expanded_plan.h"

#include <cmath>
#include <gtest/gtest.h>
#include <vector>

namespace krasis::cuda {
namespace {

constexpr int kHopperMultiprocessors = 132;
constexpr DeviceProperties kHopper = {.multiprocessors = kHopperMultiprocessors,
                                      .capability = 90,
                                      .shared_bytes = 227 * 1024,
                                      .l2_bytes = 0};
constexpr std::size_t kGigabyte = std::size_t{1} << 30;

alignas(16) float numbers[4];

AttentionOverLatents operation(std::int64_t tokens, std::int64_t heads = 16) {
  auto* const bytes = reinterpret_cast<std::byte*>(numbers);
  const auto matrix = [&](std::int64_t rows, std::int64_t columns) {
    return Matrix{.format = Matrix::Format::BF16,
                  .rows = rows,
                  .columns = columns,
                  .data = bytes,
                  .tiles = {}};
  };
  return {.queries = Rows(numbers, tokens * heads, 128, 192),
          .absorbed = MutableRows(numbers, tokens * heads, 576),
          .mixed = MutableRows(numbers, tokens * heads, 512),
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
          .out = MutableRows(numbers, tokens * heads, 128)};
}

StepTables tables(int max_rows, int max_context) {
  StepTables tables;
  tables.segments = 1;
  tables.tokens = max_rows;
  tables.max_rows = max_rows;
  tables.max_context = max_context;
  return tables;
}

ExpandedPlan plan_of(const AttentionOverLatents& op, int rows, int context,
                     const DeviceProperties& device = kHopper, std::size_t scratch = kGigabyte) {
  return plan_expanded(op, tables(rows, context), device, true, scratch);
}

// Operations for one token of the context, of the busiest multiprocessor.
double absorbed_cost(double rows, double heads) {
  return rows * heads * 2 * (512 + 64 + 512) / kHopperMultiprocessors;
}
double expanded_cost(double rows, double heads) {
  const double blocks = std::ceil(rows / 128) * heads;
  return std::ceil(blocks / kHopperMultiprocessors) * 128 * 2 * (128 + 64 + 128) +
         2 * 512 * (128 + 128) * heads / kHopperMultiprocessors;
}

TEST(ExpandedPlan, ExpandsFromWhereItTakesFewerOperations) {
  for (const int heads : {2, 16, 64, 128}) {
    const std::int64_t least = least_expanded_rows(heads, kHopperMultiprocessors);
    for (std::int64_t rows = 1; rows <= 16384; ++rows) {
      const auto count = static_cast<double>(rows);
      EXPECT_EQ(rows >= least, expanded_cost(count, heads) < absorbed_cost(count, heads))
          << heads << " heads, " << rows << " rows";
    }
  }
  EXPECT_EQ(least_expanded_rows(16, kHopperMultiprocessors), 432);
  EXPECT_EQ(least_expanded_rows(128, kHopperMultiprocessors), 199);
}

TEST(ExpandedPlan, StepsAndShortPromptsStayAbsorbed) {
  EXPECT_EQ(plan_of(operation(1), 1, 32768).least_rows, 0);
  EXPECT_EQ(plan_of(operation(431), 431, 32768).least_rows, 0);
  EXPECT_EQ(plan_of(operation(432), 432, 32768).least_rows, 432);
}

TEST(ExpandedPlan, ExpandsAsMuchOfTheContextAsScratchMemoryHolds) {
  const AttentionOverLatents op = operation(8192);
  EXPECT_EQ(plan_of(op, 8192, 32769).block_tokens, 32896);
  // 33 MiB for products, 1 MiB for what is kept between blocks, then 9,344 bytes a token.
  const std::size_t fixed = std::size_t{34} << 20;
  EXPECT_EQ(plan_of(op, 8192, 32768, kHopper, fixed + 9344 * 4096).block_tokens, 4096);
  EXPECT_EQ(plan_of(op, 8192, 32768, kHopper, fixed + 9344 * 4096 - 1).block_tokens, 4096 - 128);
  EXPECT_EQ(plan_of(op, 8192, 32768, kHopper, fixed + 9344 * 1000).least_rows, 0);
  EXPECT_EQ(plan_of(op, 512, 512, kHopper, fixed + 9344 * 1000).block_tokens, 512);
  EXPECT_EQ(plan_of(op, 8192, 32768, kHopper, 1000).least_rows, 0);
}

TEST(ExpandedPlan, OtherShapesAndDevicesStayAbsorbed) {
  const auto expands = [](const AttentionOverLatents& op, const DeviceProperties& device) {
    return plan_of(op, 8192, 8192, device).least_rows > 0;
  };
  EXPECT_TRUE(expands(operation(8192), kHopper));
  DeviceProperties other = kHopper;
  for (const int capability : {80, 89, 100, 120}) {
    other.capability = capability;
    EXPECT_FALSE(expands(operation(8192), other)) << capability;
  }
  EXPECT_EQ(
      plan_expanded(operation(8192), tables(8192, 8192), kHopper, false, kGigabyte).least_rows, 0)
      << "without cuBLASLt";
  AttentionOverLatents op = operation(8192);
  op.kv.dtype = DType::F8E4M3;
  EXPECT_TRUE(expands(op, kHopper));
  op.kv.dtype = DType::F32;
  EXPECT_FALSE(expands(op, kHopper));
  op = operation(8192);
  op.kv.key_dim = 544;
  EXPECT_FALSE(expands(op, kHopper));
  op = operation(8192);
  op.key_up.format = Matrix::Format::F16;
  EXPECT_FALSE(expands(op, kHopper));
  op = operation(8192);
  op.queries.stride = 193;
  EXPECT_FALSE(expands(op, kHopper));
  op = operation(8192);
  op.out.data += 1;
  EXPECT_FALSE(expands(op, kHopper));
}

}  // namespace
}  // namespace krasis::cuda
