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

TEST(Rates, APromptIsBoundByTheLinkOrByTheArithmetic) {
  const MachineRates rates = {.link = 25e9, .operations = 100e12};
  const Plan plan = streamed_plan(40'000'000'000);
  // 40 GB at 25 GB/s are 1.6 s, 8192 tokens of 6.5 GFLOP at 100 TFLOP/s half a second.
  const PlannedRates some = prompt_rates(test::next_80b(), plan, rates, 8192);
  EXPECT_NEAR(some.bound, 8192 / 1.6, 1);
  EXPECT_NEAR(some.expected, 8192 / (1.6 * 49 / 48), 1);
  const PlannedRates many = prompt_rates(test::next_80b(), plan, rates, 65536);
  EXPECT_NEAR(many.bound, 100e12 / operations_a_token(test::next_80b()), 1);
  // Two passes copy twice.
  EXPECT_NEAR(prompt_rates(test::next_80b(), plan, {.link = 25e9}, 131072).bound, 131072 / 3.2, 1);
}

TEST(Rates, DecodeWaitsForTheSlowerOfHitsAndMisses) {
  const MachineRates rates = {.ram = 78e9, .vram = 1e30};
  Plan plan = streamed_plan(1);
  // 0.78 GB at 78 GB/s.
  EXPECT_NEAR(decode_rates(test::next_80b(), {}, plan, rates).bound, 100, 1);
  plan.resident_experts = plan.experts / 2;
  EXPECT_NEAR(decode_rates(test::next_80b(), {}, plan, rates).bound, 200, 2);
  EXPECT_LT(decode_rates(test::next_80b(), {}, plan, rates).expected, 200);
}

}  // namespace
}  // namespace krasis
