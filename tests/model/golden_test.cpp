// The whole forward pass of every architecture against what transformers computed in float32.
#include <gtest/gtest.h>

#include "model/loaded_model.h"
#include "model/trace.h"

namespace krasis {
namespace {

using test::chosen_experts;
using test::Golden;
using test::LoadedModel;
using test::relative_error;

// Two programs that sum in float32 in different orders over a few thousand terms differ by some
// 1e-6; a wrong formula differs by far more than 1e-4.
constexpr double kGoldenTolerance = 1e-4;

class GoldenModel : public testing::TestWithParam<test::Case> {
 protected:
  void SetUp() override {
    KRASIS_NEEDS_REFERENCE();
    backend_ = std::make_unique<test::Backend>(GetParam().backend);
    loaded_ =
        std::make_unique<LoadedModel>(test::reference_model_dir(GetParam().model), backend_->ops());
    golden_ = std::make_unique<Golden>(GetParam().model);
  }

  std::unique_ptr<test::Backend> backend_;
  std::unique_ptr<LoadedModel> loaded_;
  std::unique_ptr<Golden> golden_;
};

TEST_P(GoldenModel, ComputesWhatTransformersDoes) {
  const Trace trace = trace_prompt(loaded_->model, golden_->values<std::int32_t>("input_ids"));
  ASSERT_GT(trace.tensors.size(), 2U);
  for (const auto& [name, tensor] : trace.tensors) {
    ASSERT_TRUE(golden_->has(name)) << name;
    EXPECT_LE(relative_error(tensor.values, golden_->values<float>(name)), kGoldenTolerance)
        << name;
  }
  for (std::size_t layer = 0; layer < loaded_->spec().layers.size(); ++layer) {
    EXPECT_TRUE(trace.tensors.contains("hidden." + std::to_string(layer)));
    const auto* ffn = std::get_if<SparseFfn>(&loaded_->spec().layers[layer].ffn);
    const std::string logits = "router_logits." + std::to_string(layer);
    EXPECT_EQ(trace.tensors.contains(logits), ffn != nullptr);
    if (ffn == nullptr) continue;
    const auto number = static_cast<std::int64_t>(layer);
    EXPECT_EQ(chosen_experts(*loaded_, number, trace.tensors.at(logits).values),
              chosen_experts(*loaded_, number, golden_->values<float>(logits)));
  }
}

TEST_P(GoldenModel, ContinuesGreedilyWithTheSameTokens) {
  const auto prompt = golden_->values<std::int32_t>("greedy_prompt_ids");
  const auto expected = golden_->values<std::int32_t>("greedy_ids");
  const auto margin = golden_->values<float>("greedy_margin");
  test::Session session(*loaded_);
  test::Session::Sequence sequence;
  std::vector<float> logits = session.step(sequence, prompt);
  const auto vocab = static_cast<std::ptrdiff_t>(loaded_->spec().vocab);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const auto last = logits.end() - vocab;
    const auto best = static_cast<std::int32_t>(std::max_element(last, logits.end()) - last);
    // Closer than this, another order of summation may pick the other token.
    if (margin[i] > 1e-3F) {
      EXPECT_EQ(best, expected[i]) << "token " << i;
    }
    logits = session.step(sequence, std::span(&expected[i], 1));
  }
}

INSTANTIATE_TEST_SUITE_P(, GoldenModel, testing::ValuesIn(test::all_cases()),
                         [](const auto& model) { return test::test_name(model.param); });

}  // namespace
}  // namespace krasis
