#include "budget/rates.h"

#include <gtest/gtest.h>

#include "unit/budget/specs.h"

namespace krasis {
namespace {

Plan streamed_plan(std::uint64_t bytes) {
  Plan plan;
  plan.on_device = true;
  plan.all_resident = false;
  plan.pass_tokens = 65536;
  plan.experts = 48 * 512;
  plan.streamed_bytes = bytes;
  return plan;
}

TEST(Rates, CountTheOperationsOfWellKnownModels) {
  EXPECT_NEAR(operations_a_token(test::next_80b()) / 1e9, 6.5, 0.1);
  EXPECT_NEAR(operations_a_token(test::moe_235b()) / 1e9, 41.9, 0.5);
  EXPECT_NEAR(operations_a_token(test::lite_16b()) / 1e9, 4.5, 0.2);
  EXPECT_NEAR(routed_bytes_a_token(test::next_80b(), {}) / 1e9, 0.78, 0.01);
}

TEST(Rates, CountTheOperationsOfScores) {
  // 94 layers, 64 heads of 128, for each of 8192 * 8193 / 2 pairs a product with the key and one
  // with the value.
  const double pairs = 8192.0 * 8193 / 2;
  EXPECT_DOUBLE_EQ(attention_operations(test::moe_235b(), {.tokens = 8192}),
                   94 * 64 * 128 * 4 * pairs);
  EXPECT_DOUBLE_EQ(attention_operations(test::moe_235b(), {.tokens = 1, .past = 32768}),
                   94 * 64 * 128 * 4 * 32769.0);
  // 27 layers, 16 heads: keys of 128 + 64, values of 128.
  EXPECT_DOUBLE_EQ(attention_operations(test::lite_16b(), {.tokens = 8192}),
                   27 * 16 * (192 + 128) * 2 * pairs);
  // 12 layers of 16 heads of 256; 36 states of 32 x 128 x 128, which grow with the tokens alone.
  EXPECT_DOUBLE_EQ(attention_operations(test::next_80b(), {.tokens = 8192}),
                   12 * 16 * 256 * 4 * pairs + 8192.0 * 36 * 6 * 32 * 128 * 128);
}

TEST(Rates, APromptIsBoundByTheLinkOrByTheArithmetic) {
  const MachineRates rates = {.link = 25e9, .operations = 250e12};
  const Plan plan = streamed_plan(40'000'000'000);
  const ModelSpec spec = test::next_80b();
  // 40 GB at 25 GB/s are 1.6 s, 8192 tokens of 6.5 GFLOP at 250 TFLOP/s a quarter of a second.
  const PlannedRates some = prompt_rates(spec, {}, plan, rates, {.tokens = 8192});
  EXPECT_NEAR(some.bound, 8192 / 1.6, 1);
  EXPECT_NEAR(some.expected, 8192 / (1.6 * 49 / 48), 1);
  const PromptSize long_one = {.tokens = 65536};
  const double operations = 65536 * operations_a_token(spec) + attention_operations(spec, long_one);
  EXPECT_NEAR(prompt_rates(spec, {}, plan, rates, long_one).bound, 65536 / (operations / 250e12),
              1);
  // Two passes copy twice.
  EXPECT_NEAR(prompt_rates(spec, {}, plan, {.link = 25e9}, {.tokens = 131072}).bound, 131072 / 3.2,
              1);
}

TEST(Rates, ExpectLessThanTheBoundWhereNothingStreams) {
  Plan plan;
  plan.on_device = true;
  plan.experts = plan.resident_experts = 26 * 64;
  plan.pass_tokens = 8192;
  // What docs/benchmarks.md has measured with these rates: 43,535 and 526 tokens a second.
  const MachineRates h100 = {.link = 54e9, .ram = 100e9, .vram = 2990e9, .operations = 750e12};
  const ModelSpec spec = test::lite_16b();
  const PlannedRates prompt = prompt_rates(spec, {}, plan, h100, {.tokens = 8192});
  EXPECT_GT(prompt.bound, 43535 * 2);
  EXPECT_NEAR(prompt.expected, 43535, 43535 * 0.3);
  const PlannedRates step = decode_rates(spec, {}, plan, h100, {});
  EXPECT_GT(step.bound, 526 * 2);
  EXPECT_NEAR(step.expected, 526, 526 * 0.1);
}

TEST(Rates, FallAsTheContextGrows) {
  Plan plan = streamed_plan(0);
  plan.all_resident = true;
  plan.token_cache_bytes = 94 * 2 * 4 * 128 * 2;
  const ModelSpec spec = test::moe_235b();
  const MachineRates rates = {.vram = 1e12, .operations = 100e12};
  const PlannedRates first = prompt_rates(spec, {}, plan, rates, {.tokens = 8192});
  const PlannedRates later = prompt_rates(spec, {}, plan, rates, {.tokens = 8192, .past = 24576});
  EXPECT_LT(later.bound, first.bound * 0.9);
  EXPECT_LT(later.expected, first.expected * 0.9);
  // 32768 tokens of 192 kB each, at 1 TB/s.
  const auto seconds = [&](std::int64_t context) {
    return 1 / decode_rates(spec, {}, plan, rates, {.context = context}).bound;
  };
  EXPECT_NEAR(seconds(32768) - seconds(0), 32768 * 192512e-12, 1e-6);
  // 75 MB of state, read and written.
  const double without = seconds(0);
  plan.state_bytes = 75'000'000;
  EXPECT_NEAR(seconds(0) - without, 150e-6, 1e-9);
}

TEST(Rates, DecodeWaitsForTheSlowerOfHitsAndMisses) {
  const MachineRates rates = {.ram = 78e9, .vram = 1e30};
  const ModelSpec spec = test::next_80b();
  Plan plan = streamed_plan(1);
  // 0.78 GB at 78 GB/s.
  EXPECT_NEAR(decode_rates(spec, {}, plan, rates, {}).bound, 100, 1);
  plan.resident_experts = plan.experts / 2;
  EXPECT_NEAR(decode_rates(spec, {}, plan, rates, {}).bound, 200, 2);
  EXPECT_LT(decode_rates(spec, {}, plan, rates, {}).expected, 200);
}

TEST(Rates, TheLinkReadsAPartOfWhatIsMissing) {
  const ModelSpec spec = test::next_80b();
  const Plan plan = streamed_plan(1);
  const MachineRates rates = {.link = 26e9, .ram = 78e9, .vram = 1e30};
  EXPECT_NEAR(decode_rates(spec, {}, plan, rates, {}).bound, 100 * (78.0 + 26) / 78, 1);
  // What the processor did not compute is known to be on the device, wherever it was read.
  EXPECT_NEAR(decode_rates(spec, {}, plan, rates, {.hits = 0.5}).bound, 200, 2);
}

TEST(Rates, AProcessorReadsTheWeightsOnceAPass) {
  Plan plan;
  plan.pass_tokens = 512;
  const ModelSpec spec = test::next_80b();
  EXPECT_EQ(prompt_rates(spec, {}, plan, {.ram = 45e9}, {.tokens = 2048}).bound, 0);
  // Nearly all of 39.9 GB of experts, and 3.65 GB of the rest, in each of four passes.
  const MachineRates slow_ram = {.ram = 45e9, .processor_operations = 1e30};
  EXPECT_NEAR(prompt_rates(spec, {}, plan, slow_ram, {.tokens = 2048}).bound,
              2048 / (4 * (39.9e9 + 3.65e9) / 45e9), 1);
  const MachineRates slow_sums = {.ram = 1e30, .processor_operations = 1e12};
  const double operations =
      2048 * operations_a_token(spec) + attention_operations(spec, {.tokens = 2048});
  const PlannedRates sums = prompt_rates(spec, {}, plan, slow_sums, {.tokens = 2048});
  EXPECT_NEAR(sums.bound, 2048 / (operations / 1e12), 0.1);
  EXPECT_LT(sums.expected, sums.bound);
  const PlannedRates step = decode_rates(spec, {}, plan, {.ram = 44.3e9}, {});
  EXPECT_NEAR(step.bound, 10, 0.1);
  EXPECT_LT(step.expected, step.bound);
}

}  // namespace
}  // namespace krasis
