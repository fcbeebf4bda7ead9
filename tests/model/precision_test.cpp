// Dense weights as INT8, and keys and values as BF16: near the golden values, by how much their
// rounding explains.
#include <gtest/gtest.h>

#include "model/loaded_model.h"
#include "model/trace.h"

namespace krasis {
namespace {

using test::Golden;
using test::LoadedModel;
using test::relative_error;

constexpr DenseFormats kAllInt8 = {.attention = DenseFormat::Int8,
                                   .shared_expert = DenseFormat::Int8,
                                   .dense_mlp = DenseFormat::Int8,
                                   .lm_head = DenseFormat::Int8};

class Precision : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    KRASIS_NEEDS_REFERENCE();
    golden_ = std::make_unique<Golden>(GetParam());
    ids_ = golden_->values<std::int32_t>("input_ids");
  }
  // Of the logits.
  double error_with(const DenseFormats& formats, DType kv_type) {
    LoadedModel loaded(test::reference_model_dir(GetParam()), backend_.ops(), formats);
    dense_bytes_ = loaded.model.dense_bytes();
    const Trace trace = trace_prompt(loaded.model, ids_, kv_type);
    return relative_error(trace.tensors.at("logits").values, golden_->values<float>("logits"));
  }

  test::Backend backend_{"cpu"};
  std::unique_ptr<Golden> golden_;
  std::vector<std::int32_t> ids_;
  std::size_t dense_bytes_ = 0;
};

// A weight of INT8 is off by 0.6 % of a deviation and so is an activation: about 1 % a product. The
// errors of a layer's products add up like a random walk, to a few per cent in four layers; a token
// whose expert changes adds more. A wrong row, scale or matrix gives an error near 1.
TEST_P(Precision, Int8WeightsCostAFewPerCent) {
  const double error = error_with(kAllInt8, DType::F32);
  EXPECT_LT(error, 0.1);
  EXPECT_GT(error, 1e-4);  // they were indeed quantized
  EXPECT_GT(dense_bytes_, 0U);
}

// BF16 keeps 8 bits: 2^-9 / sqrt(3) = 0.1 % of a key or value, averaged over the tokens attended
// to.
TEST_P(Precision, KeysAndValuesInBf16CostLittle) {
  const double error = error_with({}, DType::BF16);
  EXPECT_LT(error, 0.02);
}

// E4M3 keeps 4 bits: a key or value is off by 2^-4 at most and by 2^-4 / sqrt(3) / 1.4 = 2.6 % at
// the root of the mean square, 16 times as much as in BF16. Those of four layers add up like a
// random walk to 7 % at most, of which attending to many tokens averages some away; a token with
// other experts adds more.
TEST_P(Precision, KeysAndValuesInE4M3CostSixteenTimesAsMuch) {
  const double bf16_error = error_with({}, DType::BF16);
  const double error = error_with({}, DType::F8E4M3);
  std::printf("e4m3 %s: logits off by %.2e, BF16 %.2e\n", GetParam().c_str(), error, bf16_error);
  EXPECT_LT(error, 0.125);
  EXPECT_GT(error, bf16_error);  // they were indeed rounded
}

INSTANTIATE_TEST_SUITE_P(, Precision, testing::ValuesIn(test::reference_models()),
                         [](const auto& model) {
                           return test::test_name({model.param, "cpu"});
                         });

}  // namespace
}  // namespace krasis
