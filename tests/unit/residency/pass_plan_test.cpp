#include "residency/pass_plan.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <map>
#include <set>
#include <string>

#include "base/error.h"

namespace krasis {
namespace {

using Kind = PassStep::Kind;

// What a step would do wrong; nothing if the plan is good.
std::string problem_of(const std::vector<PassStep>& steps, const ExpertPlacement& placement,
                       int layers) {
  std::map<int, int> in_slot;  // live layers
  std::set<int> loaded;
  int awaited = 0, computed = 0, dropped = 0;
  for (const PassStep& step : steps) {
    const std::string at = " layer " + std::to_string(step.layer);
    if (step.slot < 0 || step.slot >= placement.ring_layers) return "no such slot," + at;
    const bool live = in_slot.contains(step.slot) && in_slot[step.slot] == step.layer;
    switch (step.kind) {
      case Kind::Load:
        if (in_slot.contains(step.slot)) return "two layers in a slot," + at;
        if (!loaded.insert(step.layer).second) return "loaded twice," + at;
        in_slot[step.slot] = step.layer;
        break;
      case Kind::Await:
        if (step.layer != awaited++ || computed != step.layer) return "awaited out of turn," + at;
        break;
      case Kind::Compute:
        if (!live) return "computed without being there," + at;
        if (step.layer != computed++ || awaited != computed) return "computed out of turn," + at;
        break;
      case Kind::Drop:
        if (!live || computed != step.layer + 1) return "dropped out of turn," + at;
        in_slot.erase(step.slot);
        ++dropped;
    }
  }
  if (computed != layers || dropped != layers) return "not all layers";
  return "";
}

std::vector<ExpertPlacement> placements() {
  std::vector<ExpertPlacement> all;
  for (std::int64_t ring = 1; ring <= 9; ++ring) {
    all.push_back({.mode = ExpertMode::Auto, .ring_layers = ring});
    all.push_back({.mode = ExpertMode::Chunked, .ring_layers = ring});
    for (std::int64_t group = 1; 2 * group <= ring; ++group)
      all.push_back({.mode = ExpertMode::Grouped, .ring_layers = ring, .group_layers = group});
  }
  return all;
}

TEST(PassPlan, LoadsEveryLayerOnceBeforeItIsComputedAndNoTwoIntoASlot) {
  for (const ExpertPlacement& placement : placements()) {
    for (const int layers : {0, 1, 2, 3, 7, 8, 48}) {
      EXPECT_EQ(problem_of(plan_pass(placement, layers), placement, layers), "")
          << static_cast<int>(placement.mode) << ", ring of " << placement.ring_layers
          << ", groups of " << placement.group_layers << ", " << layers << " layers";
    }
  }
}

TEST(PassPlan, TestSeesWhatIsWrong) {
  const ExpertPlacement placement = {.ring_layers = 2};
  std::vector<PassStep> steps = plan_pass(placement, 3);
  const auto load = std::ranges::find(steps, PassStep{Kind::Load, 2, 0});
  const auto drop = std::ranges::find(steps, PassStep{Kind::Drop, 0, 0});
  ASSERT_LT(drop, load);
  std::iter_swap(load, drop);
  EXPECT_EQ(problem_of(steps, placement, 3), "two layers in a slot, layer 2");
  steps.erase(load);
  EXPECT_EQ(problem_of(steps, placement, 3), "two layers in a slot, layer 2");
  EXPECT_EQ(problem_of({{Kind::Compute, 0, 0}}, placement, 1),
            "computed without being there, layer 0");
  EXPECT_EQ(problem_of({}, placement, 1), "not all layers");
}

TEST(PassPlan, AutoLoadsAsFarAheadAsTheRingHasSlots) {
  const auto steps = plan_pass({.mode = ExpertMode::Auto, .ring_layers = 2}, 3);
  EXPECT_EQ(steps, (std::vector<PassStep>{{Kind::Load, 0, 0},
                                          {Kind::Load, 1, 1},
                                          {Kind::Await, 0, 0},
                                          {Kind::Compute, 0, 0},
                                          {Kind::Drop, 0, 0},
                                          {Kind::Load, 2, 0},
                                          {Kind::Await, 1, 1},
                                          {Kind::Compute, 1, 1},
                                          {Kind::Drop, 1, 1},
                                          {Kind::Await, 2, 0},
                                          {Kind::Compute, 2, 0},
                                          {Kind::Drop, 2, 0}}));
}

TEST(PassPlan, GroupedLoadsAGroupWhenTheOneBeforeStarts) {
  const auto steps =
      plan_pass({.mode = ExpertMode::Grouped, .ring_layers = 4, .group_layers = 2}, 7);
  const auto place = [&](Kind kind, int layer) {
    return std::ranges::find_if(
        steps, [&](const PassStep& step) { return step.kind == kind && step.layer == layer; });
  };
  for (const int group : {1, 2}) {
    for (const int layer : {2 * group, 2 * group + 1}) {
      EXPECT_LT(place(Kind::Load, layer), place(Kind::Await, 2 * group - 2));
      if (group > 1) {
        EXPECT_LT(place(Kind::Drop, 2 * group - 3), place(Kind::Load, layer));
      }
    }
  }
}

TEST(PassPlan, ChunkedLoadsALayerWhenItIsAskedFor) {
  const auto steps = plan_pass({.mode = ExpertMode::Chunked, .ring_layers = 1}, 2);
  EXPECT_EQ(steps, (std::vector<PassStep>{{Kind::Await, 0, 0},
                                          {Kind::Load, 0, 0},
                                          {Kind::Compute, 0, 0},
                                          {Kind::Drop, 0, 0},
                                          {Kind::Await, 1, 0},
                                          {Kind::Load, 1, 0},
                                          {Kind::Compute, 1, 0},
                                          {Kind::Drop, 1, 0}}));
}

TEST(PassPlan, RefusesModesWithoutOneAndARingThatIsTooSmall) {
  EXPECT_THROW(plan_pass({.mode = ExpertMode::ActiveOnly}, 1), Error);
  EXPECT_THROW(plan_pass({.mode = ExpertMode::Persistent}, 1), Error);
  try {
    plan_pass({.mode = ExpertMode::Grouped, .ring_layers = 3, .group_layers = 2}, 4);
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(),
                 "residency: ring_layers is 3, it must be room for what is computed and what is on "
                 "its way");
  }
}

}  // namespace
}  // namespace krasis
