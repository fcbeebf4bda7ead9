#include "cuda/attention_plan.h"

#include <gtest/gtest.h>
#include <vector>

namespace krasis::cuda {
namespace {

constexpr DeviceProperties kHopper = {
    .multiprocessors = 132, .capability = 90, .shared_bytes = 227 * 1024, .l2_bytes = 0};
constexpr DeviceProperties kSmall = {
    .multiprocessors = 28, .capability = 86, .shared_bytes = 99 * 1024, .l2_bytes = 0};

alignas(16) float numbers[4];

// 16 heads on 2 key-value heads of `dim`, or latent.
Attention operation(std::int64_t tokens, std::int64_t dim, bool latent = false) {
  auto* const bytes = reinterpret_cast<std::byte*>(numbers);
  const std::int64_t value_dim = latent ? 512 : dim;
  return {.queries = Rows(numbers, tokens * 16, dim),
          .kv = {.keys = bytes,
                 .values = latent ? nullptr : bytes,
                 .pages = 1,
                 .page_tokens = 64,
                 .kv_heads = latent ? 1 : 2,
                 .key_dim = dim,
                 .value_dim = value_dim},
          .segments = {},
          .heads = 16,
          .scale = 1,
          .out = MutableRows(numbers, tokens * 16, value_dim)};
}

StepTables tables(int segments, int tokens, int max_rows, int max_context) {
  StepTables tables;
  tables.segments = segments;
  tables.tokens = tokens;
  tables.max_rows = max_rows;
  tables.max_context = max_context;
  return tables;
}

std::vector<AttentionKernel> kernels(const AttentionPlan& plan) {
  std::vector<AttentionKernel> all;
  for (int i = 0; i < plan.count; ++i)
    all.push_back(plan.parts[static_cast<std::size_t>(i)].kernel);
  return all;
}

using Kernels = std::vector<AttentionKernel>;

TEST(AttentionPlan, ChoosesByShapeAndDevice) {
  const StepTables prompt = tables(1, 4096, 4096, 4096);
  const auto chosen = [&](const Attention& op, const DeviceProperties& device) {
    return kernels(plan_attention(op, prompt, device));
  };
  EXPECT_EQ(chosen(operation(4096, 128), kHopper), Kernels{AttentionKernel::PromptHopper});
  EXPECT_EQ(chosen(operation(4096, 64), kHopper), Kernels{AttentionKernel::Prompt});
  EXPECT_EQ(chosen(operation(4096, 128), kSmall), Kernels{AttentionKernel::Prompt});
  EXPECT_EQ(chosen(operation(4096, 80), kHopper), Kernels{AttentionKernel::Any});
  EXPECT_EQ(chosen(operation(4096, 576, true), kHopper), Kernels{AttentionKernel::LatentHopper});
  EXPECT_EQ(chosen(operation(4096, 576, true), kSmall), Kernels{AttentionKernel::LatentSmall});
  Attention unaligned = operation(4096, 128);
  unaligned.queries.stride = 129;
  EXPECT_EQ(chosen(unaligned, kHopper), Kernels{AttentionKernel::Any});
}

TEST(AttentionPlan, GivesStepsBesideAPromptTheirOwnKernel) {
  const AttentionPlan plan =
      plan_attention(operation(519, 128), tables(8, 519, 512, 4096), kHopper);
  EXPECT_EQ(kernels(plan), (Kernels{AttentionKernel::Decode, AttentionKernel::PromptHopper}));
  EXPECT_EQ(plan.parts[0].most_rows, 8);
  EXPECT_EQ(plan.parts[1].least_rows, 9);
  EXPECT_EQ(plan.parts[1].most_rows, 512);
}

TEST(AttentionPlan, SplitsKeysOnlyUntilTheDeviceIsFull) {
  EXPECT_GT(plan_attention(operation(1, 128), tables(1, 1, 1, 32768), kHopper).parts[0].splits,
            100);
  EXPECT_EQ(plan_attention(operation(1, 128), tables(1, 1, 1, 60), kHopper).parts[0].splits, 1);
  EXPECT_EQ(
      plan_attention(operation(256, 128), tables(256, 256, 1, 32768), kHopper).parts[0].splits, 1);
  EXPECT_EQ(
      plan_attention(operation(8192, 128), tables(1, 8192, 8192, 8192), kHopper).parts[0].splits,
      1);
}

TEST(AttentionPlan, NeedsLittleScratchMemory) {
  constexpr std::size_t kLeastScratch = std::size_t{64} << 20;  // of any device
  for (const int segments : {1, 2, 7, 32, 200}) {
    for (const int rows : {1, 3, 8, 9, 60, 500, 4096}) {
      for (const bool latent : {false, true}) {
        const int tokens = rows + segments - 1;
        const Attention op = operation(tokens, latent ? 576 : 256, latent);
        for (const DeviceProperties& device : {kHopper, kSmall}) {
          const AttentionPlan plan =
              plan_attention(op, tables(segments, tokens, rows, 131072), device);
          EXPECT_LT(scratch_bytes(plan, op.kv.value_dim), kLeastScratch)
              << segments << " segments of up to " << rows << " rows";
          Attention narrow = op;
          narrow.kv.dtype = DType::F8E4M3;
          const AttentionPlan direct =
              plan_attention(narrow, tables(segments, tokens, rows, 131072), device);
          EXPECT_LT(scratch_bytes(direct, op.kv.value_dim), kLeastScratch)
              << segments << " segments of up to " << rows << " rows of E4M3";
        }
      }
    }
  }
}

TEST(AttentionPlan, WidensTheKeysOfLongSegmentsOfANarrowCache) {
  constexpr std::size_t kScratch = std::size_t{64} << 20;
  const std::vector<Segment> segments = {
      {.first_row = 0, .rows = 1, .past = 4000, .slot = 0, .pages = {}},
      {.first_row = 1, .rows = 512, .past = 3000, .slot = 1, .pages = {}}};
  const int numbers_of_segments[2] = {};
  StepTables step = tables(2, 513, 512, 4096);
  step.first_row = step.rows = step.past = step.slot = numbers_of_segments;
  Attention op = operation(513, 128);
  op.kv.dtype = DType::F8E4M3;
  op.segments = segments;
  const AttentionPlan plan = plan_attention(op, step, kHopper, kScratch);
  EXPECT_EQ(kernels(plan), Kernels{AttentionKernel::DecodeNarrow});
  EXPECT_EQ(plan.parts[0].most_rows, 32);  // of 8 heads each: 256 packed rows
  EXPECT_EQ(plan.widened_rows, 33);
  EXPECT_EQ(plan.widened_tokens, 3512);
  // Keys and values of 2 heads of 128 for 3512 tokens are 3.6 MB.
  const AttentionPlan poor = plan_attention(op, step, kHopper, std::size_t{3} << 20);
  EXPECT_EQ(kernels(poor), Kernels{AttentionKernel::DecodeNarrow});
  EXPECT_EQ(poor.parts[0].most_rows, 512);
  EXPECT_EQ(poor.widened_rows, 0);

  op = operation(8, 576, true);
  op.kv.dtype = DType::F8E4M3;
  const AttentionPlan steps = plan_attention(op, tables(8, 8, 1, 4096), kHopper, kScratch);
  EXPECT_EQ(kernels(steps), Kernels{AttentionKernel::LatentNarrow});
  EXPECT_EQ(steps.widened_rows, 0);
}

TEST(AttentionPlan, OfNothingIsEmpty) {
  EXPECT_EQ(plan_attention(operation(0, 128), tables(0, 0, 0, 0), kHopper).count, 0);
}

}  // namespace
TEST(AttentionPlan, SplitsKeysNoMoreOftenThanScratchMemoryHoldsTheirResults) {
  const Attention op = operation(8, 128);
  for (const std::size_t scratch :
       {std::size_t{4} << 10, std::size_t{1} << 20, std::size_t{8} << 20}) {
    const AttentionPlan plan = plan_attention(op, tables(8, 8, 1, 32768), kHopper, scratch);
    EXPECT_LE(scratch_bytes(plan, op.kv.value_dim), scratch) << scratch;
  }
  EXPECT_EQ(plan_attention(op, tables(8, 8, 1, 32768), kHopper, 0).parts[0].splits, 1);
}

}  // namespace krasis::cuda
