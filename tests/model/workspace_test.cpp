// What budget/step_bytes.h counts is what a model takes: enough, and no more.
#include <gtest/gtest.h>

#include "budget/step_bytes.h"
#include "model/loaded_model.h"

namespace krasis {
namespace {

constexpr std::int64_t kStepTokens = 96, kStepPart = 40, kLogitRows = 3;

std::size_t aligned(std::int64_t numbers) {
  return static_cast<std::size_t>((numbers * 4 + 255) / 256 * 256);
}

class WorkspaceOf : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { KRASIS_NEEDS_REFERENCE(); }

  // Bytes after a step of kStepTokens tokens in parts, with `reserved` bytes from the start.
  static std::size_t used(std::size_t reserved) {
    const ModelDescription description =
        read_model_description(test::reference_model_dir(GetParam()));
    const auto source = open_checkpoint(test::reference_model_dir(GetParam()));
    test::Backend backend("cpu");
    const auto experts = test::load_experts(description, *source, 16, backend.ops().memory());
    Model model(description, *source, experts.get(), {}, backend.ops(), kStepPart);
    model.reserve(reserved);
    ModelState state(description.spec, {.pages = 2, .page_tokens = 64, .slots = 1}, host_memory());
    const std::vector<std::int32_t> pages = {0, 1};
    Batch batch;
    batch.ids.assign(kStepTokens, 1);
    batch.positions.resize(kStepTokens);
    std::iota(batch.positions.begin(), batch.positions.end(), 0);
    batch.segments = {{.first_row = 0, .rows = kStepTokens, .past = 0, .slot = 0, .pages = pages}};
    batch.logit_rows = {7, 50, kStepTokens - 1};
    std::vector<float> logits(static_cast<std::size_t>(kLogitRows * description.spec.vocab));
    model.forward(batch, state, {logits.data(), kLogitRows, description.spec.vocab});
    return model.workspace_bytes();
  }
};

TEST_P(WorkspaceOf, IsWhatTheBudgetCounts) {
  const ModelSpec spec = read_model_description(test::reference_model_dir(GetParam())).spec;
  const std::size_t counted = workspace_bytes(
      spec, {.tokens = kStepTokens, .part_tokens = kStepPart, .logit_rows = kLogitRows});
  // Ids, positions and logits are the program's own here.
  const std::size_t needed = counted - 2 * aligned(kStepTokens) - aligned(kLogitRows * spec.vocab);
  EXPECT_EQ(used(needed), needed);
  EXPECT_GT(used(needed - 256), needed - 256);
}

INSTANTIATE_TEST_SUITE_P(, WorkspaceOf, testing::ValuesIn(test::reference_models()),
                         [](const auto& model) {
                           return test::test_name({model.param, "cpu"});
                         });

}  // namespace
}  // namespace krasis
