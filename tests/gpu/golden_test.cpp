// Every architecture on the device, with BF16 weights and a BF16 key-value cache, against what
// transformers computed in float32 from the same weights.
#include <cstdio>

#include "gpu/device.h"
#include "model/loaded_model.h"
#include "model/trace.h"

namespace krasis {
namespace {

using test::Golden;
using test::LoadedModel;
using test::relative_error;

// Of a whole tensor. A product's operands are off by 2^-9 each; four layers of a dozen products
// each add up to under this.
constexpr double kTolerance = 2e-2;

class GoldenOnDevice : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    KRASIS_NEEDS_REFERENCE();
    loaded_ =
        std::make_unique<LoadedModel>(test::reference_model_dir(GetParam()), test::device_ops());
    golden_ = std::make_unique<Golden>(GetParam());
  }

  std::unique_ptr<LoadedModel> loaded_;
  std::unique_ptr<Golden> golden_;
};

TEST_P(GoldenOnDevice, ComputesWhatTransformersDoes) {
  const Trace trace =
      trace_prompt(loaded_->model, golden_->values<std::int32_t>("input_ids"), DType::BF16);
  ASSERT_GT(trace.tensors.size(), 2U);
  double largest = 0;
  for (const auto& [name, tensor] : trace.tensors) {
    ASSERT_TRUE(golden_->has(name)) << name;
    const double error = relative_error(tensor.values, golden_->values<float>(name));
    EXPECT_LE(error, kTolerance) << name;
    largest = std::max(largest, error);
  }
  std::printf("golden %s: largest relative error %.2e, logits %.2e\n", GetParam().c_str(), largest,
              relative_error(trace.tensors.at("logits").values, golden_->values<float>("logits")));
}

TEST_P(GoldenOnDevice, ContinuesGreedilyWithTheSameTokens) {
  const auto prompt = golden_->values<std::int32_t>("greedy_prompt_ids");
  const auto expected = golden_->values<std::int32_t>("greedy_ids");
  const auto margin = golden_->values<float>("greedy_margin");
  test::Session session(*loaded_, 64, 4, DType::BF16);
  test::Session::Sequence sequence;
  std::vector<float> logits = session.step(sequence, prompt);
  const auto vocab = static_cast<std::ptrdiff_t>(loaded_->spec().vocab);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const auto last = logits.end() - vocab;
    const auto best = static_cast<std::int32_t>(std::max_element(last, logits.end()) - last);
    double square = 0;
    for (auto logit = last; logit != logits.end(); ++logit) square += double{*logit} * *logit;
    // Both of the two best logits may be off by the tolerance.
    const double error = 2 * kTolerance * std::sqrt(square / static_cast<double>(vocab));
    if (margin[i] > error) {
      EXPECT_EQ(best, expected[i]) << "token " << i;
    }
    logits = session.step(sequence, std::span(&expected[i], 1));
  }
}

INSTANTIATE_TEST_SUITE_P(, GoldenOnDevice, testing::ValuesIn(test::reference_models()),
                         [](const auto& model) {
                           return test::test_name({model.param, "cuda"});
                         });

}  // namespace
}  // namespace krasis
