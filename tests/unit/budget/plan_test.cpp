#include "budget/plan.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <map>

#include "base/error.h"
#include "residency/device_sizes.h"
#include "unit/budget/specs.h"

namespace krasis {
namespace {

constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;

PlanRequest request_for(std::uint64_t vram) {
  PlanRequest request;
  request.device = DeviceRoom{.bytes = vram, .fixed_bytes = fixed_device_bytes(vram)};
  return request;
}

// BF16 keys and values: 12 layers of 2 x 2 x 256, 64 tokens a page; 36 states of 32 x 128 x 128
// and 3 x 8192 floats.
PlanRequest next_80b_in(std::uint64_t vram) {
  PlanRequest request = request_for(vram);
  request.page_bytes = 64 * 12 * 2 * 2 * 256 * 2;
  request.slot_bytes = std::uint64_t{36} * 4 * (32 * 128 * 128 + 3 * 8192);
  return request;
}

PlanRequest moe_235b_in(std::uint64_t vram) {
  PlanRequest request = request_for(vram);
  request.page_bytes = 64 * 94 * 2 * 4 * 128 * 2;
  return request;
}

PlanRequest lite_16b_in(std::uint64_t vram) {
  PlanRequest request = request_for(vram);
  request.page_bytes = 64 * 27 * 576 * 2;
  return request;
}

std::uint64_t component(const Plan& plan, std::string_view name) {
  const auto found = std::ranges::find(plan.vram, name, &Component::name);
  return found == plan.vram.end() ? 0 : found->bytes;
}

TEST(Plan, Puts80BOnA16GigabyteCard) {
  const Plan plan = make_plan(test::next_80b(), next_80b_in(16 * kGiB));
  EXPECT_EQ(plan.mode, "auto");
  EXPECT_EQ(plan.placement.ring_layers, 2);
  const std::uint64_t expert = 3U * 512 * 2048 / 2 + 3U * 512 * 2048 / 128 * 2;
  EXPECT_EQ(component(plan, "expert_ring"), 2 * 512 * expert);
  EXPECT_EQ(component(plan, "resident_experts"),
            static_cast<std::uint64_t>(plan.resident_experts) * expert);
  EXPECT_EQ(plan.streamed_bytes,
            (48 * 512 - static_cast<std::uint64_t>(plan.resident_experts)) * expert);
  EXPECT_GE(plan.context_tokens, 32768);
  EXPECT_GE(plan.pass_tokens, 32768);
  EXPECT_GT(plan.resident_experts, 1000);
  EXPECT_EQ(plan.ram.front().bytes, std::uint64_t{48} * 512 * expert);
  EXPECT_TRUE(plan.notes.empty());
  EXPECT_GE(total_bytes(plan.vram), std::uint64_t{16} * kGiB * 97 / 100);
}

TEST(Plan, Puts80BOnAn8GigabyteCard) {
  const Plan plan = make_plan(test::next_80b(), next_80b_in(8 * kGiB));
  EXPECT_EQ(plan.mode, "auto");
  EXPECT_GE(plan.context_tokens, 4096);
  EXPECT_GE(plan.pass_tokens, 8192);
}

TEST(Plan, KeepsAllExpertsOfA16BOnA16GigabyteCard) {
  const Plan plan = make_plan(test::lite_16b(), lite_16b_in(16 * kGiB));
  EXPECT_EQ(plan.mode, "persistent");
  EXPECT_TRUE(plan.all_resident);
  EXPECT_EQ(plan.streamed_bytes, 0U);
  EXPECT_EQ(component(plan, "expert_ring"), 0U);
}

TEST(Plan, SaysTheSmallestChangeThatMakes235BFit) {
  try {
    make_plan(test::moe_235b(), moe_235b_in(12 * kGiB));
    FAIL() << "13.4 GB of attention fitted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::OutOfMemory);
    EXPECT_NE(std::string(error.what()).find("--attention-quant int8 makes it fit"),
              std::string::npos)
        << error.what();
  }
  PlanRequest request = moe_235b_in(12 * kGiB);
  request.weights.attention_int8 = true;
  const Plan plan = make_plan(test::moe_235b(), request);
  EXPECT_EQ(plan.mode, "chunked");
  EXPECT_EQ(plan.notes.size(), 1U);
  request = moe_235b_in(16 * kGiB);
  request.weights.attention_int8 = true;
  EXPECT_EQ(make_plan(test::moe_235b(), request).mode, "auto");
}

TEST(Plan, StepsDownFromPersistentToGroupsInOneLine) {
  PlanRequest request = next_80b_in(16 * kGiB);
  request.expert_divisor = 1;
  const Plan plan = make_plan(test::next_80b(), request);
  EXPECT_EQ(plan.placement.mode, ExpertMode::Grouped);
  EXPECT_EQ(plan.placement.ring_layers, 2 * plan.placement.group_layers);
  ASSERT_EQ(plan.notes.size(), 1U);
  EXPECT_EQ(plan.notes[0],
            "persistent does not fit in 17.2 GB of VRAM beside what else must be there, taking " +
                plan.mode);
  request = next_80b_in(80 * kGiB);
  request.expert_divisor = 1;
  EXPECT_EQ(make_plan(test::next_80b(), request).mode, "persistent");
}

TEST(Plan, TakesTheModeThatWasAskedFor) {
  const std::map<std::int64_t, std::string> modes = {
      {-1, "active-only"}, {0, "chunked"}, {12, "grouped(12)"}, {48, "grouped(48)"}};
  for (const auto& [divisor, mode] : modes) {
    PlanRequest request = next_80b_in(24 * kGiB);
    request.expert_divisor = divisor;
    const Plan plan = make_plan(test::next_80b(), request);
    EXPECT_EQ(plan.mode, mode);
    EXPECT_EQ(plan.resident_experts, 0);
    EXPECT_NO_THROW(check(plan.placement));
  }
}

TEST(Plan, TakesLargerGroupsOnlyWithPassesOfUse) {
  PlanRequest request = moe_235b_in(48 * kGiB);
  request.expert_divisor = 2;
  const Plan plan = make_plan(test::moe_235b(), request);
  EXPECT_EQ(plan.placement.mode, ExpertMode::Grouped);
  EXPECT_GE(plan.pass_tokens, 8192);
  request.prompt_chunk = 512;
  const Plan asked = make_plan(test::moe_235b(), request);
  EXPECT_EQ(asked.pass_tokens, 512);
  EXPECT_GT(asked.placement.group_layers, plan.placement.group_layers);
}

TEST(Plan, SaysThatExpertsWhichDoNotStreamHeedNoDivisor) {
  PlanRequest request = lite_16b_in(80 * kGiB);
  request.weights.experts.reset();
  EXPECT_TRUE(make_plan(test::lite_16b(), request).notes.empty());
  for (const std::int64_t divisor : {-1, 0, 4}) {
    request.expert_divisor = divisor;
    const Plan plan = make_plan(test::lite_16b(), request);
    EXPECT_EQ(plan.mode, "persistent");
    ASSERT_EQ(plan.notes.size(), 1U);
    EXPECT_EQ(plan.notes[0],
              "experts of 16 bits are all in VRAM and never streamed, expert_divisor " +
                  std::to_string(divisor) + " changes nothing");
  }
  request.expert_divisor = 1;
  EXPECT_TRUE(make_plan(test::lite_16b(), request).notes.empty());
}

TEST(Plan, RefusesAThresholdWhereEveryPromptCopiesWhatItChose) {
  PlanRequest request = next_80b_in(24 * kGiB);
  request.expert_divisor = -1;
  request.prompt_threshold = 0;
  EXPECT_THROW(make_plan(test::next_80b(), request), Error);
  request.expert_divisor = 0;
  EXPECT_NO_THROW(make_plan(test::next_80b(), request));
}

TEST(Plan, CountsTheContextThatWasAskedFor) {
  PlanRequest request = next_80b_in(16 * kGiB);
  request.context_length = 131072;
  const Plan plan = make_plan(test::next_80b(), request);
  EXPECT_GE(plan.context_tokens, 131072);
  EXPECT_GE(component(plan, "kv_cache"), 2048 * request.page_bytes);
  request.context_length = 300000;
  EXPECT_THROW(make_plan(test::next_80b(), request), Error);
}

TEST(Plan, MakesNoPassLongerThanAllContextsTogether) {
  PlanRequest request = next_80b_in(24 * kGiB);
  request.context_length = 4096;
  for (const std::int64_t sequences : {1, 3}) {
    request.max_sequences = sequences;
    const Plan plan = make_plan(test::next_80b(), request);
    EXPECT_EQ(plan.context_tokens, 4096);
    EXPECT_EQ(plan.pass_tokens, 4096 * sequences);
  }
  request.max_sequences = 1;
  request.context_length = 1000;
  request.prompt_chunk = 65536;
  EXPECT_EQ(make_plan(test::next_80b(), request).pass_tokens, 1000);
  request.device.reset();
  request.context_length = 300;
  EXPECT_EQ(make_plan(test::next_80b(), request).pass_tokens, 300);
}

TEST(Plan, GivesExpertsWhatAShortContextNeedsNoPassFor) {
  PlanRequest request = next_80b_in(16 * kGiB);
  request.context_length = 4096;
  const std::int64_t resident = make_plan(test::next_80b(), request).resident_experts;
  request.prompt_chunk = 4096;
  EXPECT_EQ(make_plan(test::next_80b(), request).resident_experts, resident);
}

TEST(Plan, KeepsFewerStatesWhereNotAllFit) {
  PlanRequest request = next_80b_in(8 * kGiB);
  request.max_sequences = 64;
  const Plan plan = make_plan(test::next_80b(), request);
  EXPECT_LT(plan.sequences, 64);
  ASSERT_FALSE(plan.notes.empty());
  EXPECT_LE(total_bytes(plan.vram), 8 * kGiB);
}

TEST(Plan, WithoutADeviceEverythingIsInRam) {
  PlanRequest request = next_80b_in(0);
  request.device.reset();
  const Plan plan = make_plan(test::next_80b(), request);
  EXPECT_EQ(plan.mode, "processor");
  EXPECT_TRUE(plan.vram.empty());
  EXPECT_GT(total_bytes(plan.ram), std::uint64_t{39} * 1000 * 1000 * 1000);
}

TEST(Plan, RefusesWhatRamDoesNotHold) {
  PlanRequest request = next_80b_in(0);
  request.device.reset();
  request.context_length = 4096;
  const std::uint64_t needed = total_bytes(make_plan(test::next_80b(), request).ram);
  request.ram_bytes = needed * 100 / 95 + 1000;
  EXPECT_EQ(make_plan(test::next_80b(), request).ram.size(), 5U);
  request.ram_bytes = needed * 100 / 96;
  try {
    make_plan(test::next_80b(), request);
    FAIL() << "96 % of the RAM were taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::OutOfMemory);
    EXPECT_NE(std::string(error.what()).find(" of RAM, 95 % of the "), std::string::npos)
        << error.what();
    EXPECT_NE(std::string(error.what()).find("--attention-quant int8 makes it fit"),
              std::string::npos)
        << error.what();
  }
  request.force = true;
  EXPECT_EQ(total_bytes(make_plan(test::next_80b(), request).ram), needed);
}

TEST(Plan, RefusesWhatRamDoesNotHoldBesideADevice) {
  PlanRequest request = next_80b_in(24 * kGiB);
  request.ram_bytes = 40 * kGiB;
  EXPECT_TRUE(plan_if_it_fits(test::next_80b(), request));
  request.ram_bytes = 36 * kGiB;
  try {
    make_plan(test::next_80b(), request);
    FAIL() << "39.9 GB of experts fitted";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("insist with --force-load"), std::string::npos)
        << error.what();
  }
}

TEST(Plan, ExpertsAsStoredAreMappedAndNeedNoRam) {
  PlanRequest request = next_80b_in(0);
  request.device.reset();
  request.weights.experts.reset();
  request.ram_bytes = 20 * kGiB;
  EXPECT_THROW(make_plan(test::next_80b(), request), Error) << "in memory of their own";
  request.maps_experts = true;
  const Plan plan = make_plan(test::next_80b(), request);
  EXPECT_GT(total_bytes(plan.ram), request.ram_bytes);
  EXPECT_LT(needed_ram(plan), request.ram_bytes);
  EXPECT_GT(plan.context_tokens, 100000);
  EXPECT_TRUE(plan.notes.empty());
}

TEST(Plan, TheCacheAloneIsNoReasonToRefuse) {
  PlanRequest request = next_80b_in(0);
  request.device.reset();
  request.max_sequences = 8;
  std::uint64_t refused = 0;
  for (std::uint64_t ram = 40; ram < 60; ++ram) {
    request.ram_bytes = ram * 1'000'000'000;
    const auto plan = plan_if_it_fits(test::next_80b(), request);
    if (!plan) refused = ram;
    if (plan) {
      EXPECT_GE(plan->context_tokens, 4096);
    }
  }
  request.ram_bytes = 0;
  request.context_length = 4096;
  request.max_sequences = 1;
  const std::uint64_t least = needed_ram(make_plan(test::next_80b(), request));
  // The state of seven more requests, and what is rounded.
  EXPECT_LT(refused, (least + 7 * request.slot_bytes) * 100 / 95 / 1'000'000'000 + 1);
}

TEST(Plan, AdvisesFourBitsOnlyWhereThatHelps) {
  PlanRequest request = moe_235b_in(24 * kGiB);
  request.weights.attention_int8 = true;
  const auto refusal = [&](int bits, std::uint64_t gigabytes) {
    request.weights.experts = TileType{.bits = bits, .group = 128};
    request.ram_bytes = gigabytes * 1'000'000'000;
    try {
      make_plan(test::moe_235b(), request);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  // 230 and 117 GB of experts.
  EXPECT_NE(refusal(8, 140).find("; --cpu-expert-bits 4 makes it fit"), std::string::npos);
  EXPECT_EQ(refusal(8, 100).find("--cpu-expert-bits"), std::string::npos);
  EXPECT_EQ(refusal(4, 100).find("--cpu-expert-bits"), std::string::npos);
  EXPECT_EQ(refusal(4, 140), "");
}

TEST(Plan, SaysWhereLittleRamIsLeft) {
  PlanRequest request = next_80b_in(24 * kGiB);
  const auto noted = [&](std::uint64_t gigabytes) {
    request.ram_bytes = gigabytes * 1'000'000'000;
    return make_plan(test::next_80b(), request).notes.size();
  };
  EXPECT_EQ(noted(60), 0U);
  EXPECT_EQ(noted(59), 1U);
  // A small model may have a small machine.
  request = lite_16b_in(16 * kGiB);
  request.ram_bytes = 16 * kGiB;
  EXPECT_TRUE(make_plan(test::lite_16b(), request).notes.empty());
}

TEST(Plan, TheProcessorsCacheTakesAQuarterOfWhatIsFree) {
  PlanRequest request = next_80b_in(0);
  request.device.reset();
  request.max_sequences = 8;
  const Plan all = make_plan(test::next_80b(), request);
  EXPECT_EQ(all.context_tokens, 262144);
  EXPECT_EQ(all.cache_bytes, 8 * 262144 / 64 * request.page_bytes);
  request.ram_bytes = 64 * kGiB;
  const Plan less = make_plan(test::next_80b(), request);
  EXPECT_LE(less.cache_bytes, 64 * kGiB / 4);
  EXPECT_GE(less.context_tokens, 65536);
  EXPECT_EQ(less.context_tokens,
            std::min<std::int64_t>(
                262144, static_cast<std::int64_t>(less.cache_bytes / request.page_bytes) * 64));
}

struct Shape {
  const char* name;
  ModelSpec spec;
  PlanRequest (*request)(std::uint64_t);
};

class OverAllSizes : public testing::TestWithParam<int> {
 protected:
  static Shape shape() {
    switch (GetParam() % 3) {
      case 0:
        return {"80b", test::next_80b(), next_80b_in};
      case 1:
        return {"235b", test::moe_235b(), moe_235b_in};
      default:
        return {"16b", test::lite_16b(), lite_16b_in};
    }
  }
  static std::int64_t sequences() { return GetParam() < 3 ? 1 : 8; }
};

TEST_P(OverAllSizes, MoreRoomNeverMeansLess) {
  const Shape shape = this->shape();
  for (const std::optional<std::int64_t> divisor :
       {std::optional<std::int64_t>(), std::optional<std::int64_t>(1),
        std::optional<std::int64_t>(-1), std::optional<std::int64_t>(0),
        std::optional<std::int64_t>(4)}) {
    std::int64_t context = 0, resident = 0, fitted = 0, pass = 0;
    for (std::uint64_t megabytes = 2000; megabytes < 160000; megabytes += 401) {
      PlanRequest request = shape.request(megabytes * 1000 * 1000);
      request.expert_divisor = divisor;
      request.max_sequences = sequences();
      request.weights.attention_int8 = GetParam() == 1;
      const std::optional<Plan> plan = plan_if_it_fits(shape.spec, request);
      if (!plan) {
        ASSERT_EQ(fitted, 0) << shape.name << " no longer fits in " << megabytes << " MB";
        continue;
      }
      ++fitted;
      ASSERT_LE(total_bytes(plan->vram), megabytes * 1000 * 1000) << shape.name;
      ASSERT_GE(plan->context_tokens, context) << shape.name << " at " << megabytes << " MB";
      ASSERT_GE(plan->resident_experts, resident) << shape.name << " at " << megabytes << " MB";
      ASSERT_GE(plan->sequences, 1);
      ASSERT_LE(plan->pass_tokens, plan->context_tokens * sequences()) << shape.name;
      // Beyond some 8192 tokens, the copies of the experts are no longer what takes the time.
      const std::int64_t pass_of_use = std::min<std::int64_t>(plan->pass_tokens, 8192);
      if (!plan->all_resident) {
        ASSERT_GE(pass_of_use, pass) << shape.name << " at " << megabytes << " MB, " << plan->mode;
      }
      pass = pass_of_use;
      context = plan->context_tokens;
      resident = plan->resident_experts;
    }
    EXPECT_GT(fitted, 50) << shape.name;
  }
}

INSTANTIATE_TEST_SUITE_P(, OverAllSizes, testing::Range(0, 6));

}  // namespace
}  // namespace krasis
