// Prompts through experts that stay in the program's memory: the same bits as with all experts in
// the device's, wherever experts are, however they come and in whatever parts the prompt goes.
#include "gpu/placed_model.h"

namespace krasis {
namespace {

using test::LoadedModel;
using test::PlacedModel;
using test::Session;

constexpr std::size_t kTokens = 200;
constexpr std::int64_t kMostPartTokens = 96;  // three parts, the last one small

struct PlacedCase {
  std::string name;
  ExpertPlacement placement;
  bool pinned = true;
};

std::vector<PlacedCase> placed_cases() {
  constexpr std::int64_t kAll = 1 << 20;
  const auto placed = [](ExpertMode mode, std::int64_t ring, std::int64_t group,
                         std::int64_t resident) {
    return ExpertPlacement{.mode = mode,
                           .resident = resident,
                           .ring_layers = ring,
                           .group_layers = group,
                           .prompt_threshold = 1};
  };
  return {{"auto, ring of 2", placed(ExpertMode::Auto, 2, 1, 0)},
          {"auto, ring of 1", placed(ExpertMode::Auto, 1, 1, 0)},
          {"auto, ring of 3, some resident", placed(ExpertMode::Auto, 3, 1, 13)},
          {"auto, all resident", placed(ExpertMode::Auto, 2, 1, kAll)},
          {"groups of 1", placed(ExpertMode::Grouped, 2, 1, 0)},
          {"groups of 2, some resident", placed(ExpertMode::Grouped, 4, 2, 7)},
          {"chunked", placed(ExpertMode::Chunked, 1, 1, 0)},
          {"chunked, some resident", placed(ExpertMode::Chunked, 1, 1, 5)},
          {"auto, staged", placed(ExpertMode::Auto, 2, 1, 0), false},
          {"chunked, staged, some resident", placed(ExpertMode::Chunked, 1, 1, 9), false}};
}

std::vector<float> prompt(LoadedModel& loaded, std::span<const std::int32_t> ids) {
  Session session(loaded, 64, 4, DType::BF16);
  Session::Sequence sequence = {.slot = 1};
  return session.step(sequence, ids);
}

class Placed : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    KRASIS_NEEDS_REFERENCE();
    ids_ = test::Golden(GetParam()).values<std::int32_t>("input_ids");
    ids_.resize(kTokens);
  }
  // With all experts in the device's memory.
  std::vector<float> expected(std::span<const std::int32_t> ids, std::int64_t part_tokens) const {
    Ops& ops = test::device_ops();
    LoadedModel loaded(
        test::reference_model_dir(GetParam()), ops, test::kPlacedFormats,
        [&](const ModelDescription& model, TensorSource& source) {
          return test::load_experts(model, source, 4, ops.memory());
        },
        part_tokens);
    return prompt(loaded, ids);
  }

  std::vector<std::int32_t> ids_;
};

TEST_P(Placed, APromptGivesTheSameBitsAsWithAllExpertsResident) {
  const std::span<const std::int32_t> all(ids_), some = all.first(40);
  for (const std::int64_t part_tokens : {Model::kPartTokens, kMostPartTokens}) {
    const auto whole = expected(all, part_tokens), shorter = expected(some, part_tokens);
    for (const PlacedCase& one : placed_cases()) {
      PlacedModel placed(GetParam(), one.placement, part_tokens,
                         {.scratch_bytes = test::kScratchBytes, .pin_experts = one.pinned});
      EXPECT_EQ(prompt(placed.loaded(), all), whole) << one.name << ", parts of " << part_tokens;
      EXPECT_EQ(prompt(placed.loaded(), some), shorter) << one.name << ", a second prompt";
      EXPECT_EQ(prompt(placed.loaded(), all), whole) << one.name << ", a third prompt";
    }
  }
}

// Observers see host copies of every layer's rows: one that throws ends a pass anywhere.
class StopsAfter final : public Observer {
 public:
  explicit StopsAfter(int layers) : layers_(layers) {}
  void hidden(std::int64_t layer, Rows /*rows*/) override {
    if (layer >= layers_) throw Error(ErrorCode::Cancelled, "test: stopped");
  }
  void router_logits(std::int64_t /*layer*/, Rows /*rows*/) override {}

 private:
  int layers_;
};

TEST_P(Placed, APassThatThrowsLeavesTheNextOneRight) {
  const auto whole = expected(ids_, Model::kPartTokens);
  for (const PlacedCase& one : placed_cases()) {
    PlacedModel placed(GetParam(), one.placement, Model::kPartTokens,
                       {.scratch_bytes = test::kScratchBytes, .pin_experts = one.pinned});
    const auto last = static_cast<int>(placed.loaded().spec().layers.size()) - 1;
    for (const int layers : {0, last, 1}) {
      Session session(placed.loaded(), 64, 4, DType::BF16);
      Session::Sequence sequence;
      StopsAfter observer(layers);
      EXPECT_THROW(session.step(sequence, ids_, &observer), Error);
    }
    EXPECT_EQ(prompt(placed.loaded(), ids_), whole) << one.name;
  }
}

TEST_P(Placed, ALayerIsCopiedBeforeItIsComputedAndInOrder) {
  PlacedModel placed(GetParam(), {.ring_layers = 2, .prompt_threshold = 1});
  EXPECT_TRUE(cuda::pass_times(placed.ops()).empty());
  prompt(placed.loaded(), ids_);
  const auto times = cuda::pass_times(placed.ops());
  ASSERT_FALSE(times.empty());
  for (std::size_t i = 0; i < times.size(); ++i) {
    EXPECT_LE(times[i].copy_begin_ms, times[i].copy_end_ms);
    EXPECT_LE(times[i].copy_end_ms, times[i].experts_begin_ms);
    EXPECT_LE(times[i].experts_begin_ms, times[i].experts_end_ms);
    // The third layer takes the first one's place.
    if (i >= 2) {
      EXPECT_LE(times[i - 2].experts_end_ms, times[i].copy_begin_ms);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(, Placed, testing::ValuesIn(test::models_with_experts()),
                         [](const auto& model) {
                           return test::test_name({model.param, "cuda"});
                         });

}  // namespace
}  // namespace krasis
