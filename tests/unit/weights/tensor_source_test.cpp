#include "weights/tensor_source.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>

#include "support/small_model.h"

namespace krasis {
namespace {

std::string error_of(TensorSource& source, const std::string& name, const Shape& shape) {
  try {
    source.require(name, shape);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(TensorSource, NamesWhatIsMissingOrMisshapen) {
  const test::SmallModel model;
  const auto source = model.open();
  const std::string area = "checkpoint: " + model.path().string() + ": ";
  EXPECT_EQ(error_of(*source, "norm", {72}), area + "no tensor \"norm\"");
  EXPECT_EQ(error_of(*source, "layers.1.experts.0.up.weight", {40, 73}),
            area +
                "\"layers.1.experts.0.up.weight\" is [40, 72], but config.json asks for "
                "[40, 73]");
  EXPECT_EQ(error_of(*source, "layers.1.experts.0.up.weight", {40, 72}), "no error");
}

TEST(TensorSource, KeepsBytesThatItWasToldToForget) {
  const test::SmallModel model;
  const auto source = model.open();
  const TensorView view = source->require("layers.1.experts.0.up.weight", {40, 72});
  const std::vector<std::byte> before(view.data(), view.data() + view.bytes());
  source->will_need(view);
  source->done_with(view);
  EXPECT_TRUE(std::equal(before.begin(), before.end(), view.data()));
}

TEST(DummySource, GivesTheSameNumbersInEveryRun) {
  const auto one = make_dummy_source();
  const auto two = make_dummy_source();
  const Shape shape{3000, 700};  // more than one piece
  const TensorView a = one->require("a", shape);
  EXPECT_TRUE(std::ranges::equal(a.as<bf16>(), two->require("a", shape).as<bf16>()));
  EXPECT_FALSE(std::ranges::equal(a.as<bf16>(), two->require("b", shape).as<bf16>()));
  EXPECT_EQ(one->require("a", shape).data(), a.data());
  EXPECT_EQ(one->fingerprint(), "");
}

TEST(DummySource, DrawsNormalNumbersWithDeviationOneFiftieth) {
  const auto source = make_dummy_source();
  double sum = 0, squares = 0, within = 0;
  const auto values = source->require("w", {1000, 1000}).as<bf16>();
  for (const bf16 value : values) {
    const double x = to_float(value);
    sum += x;
    squares += x * x;
    within += std::abs(x) < 0.02 ? 1 : 0;
  }
  const auto n = static_cast<double>(values.size());
  EXPECT_NEAR(sum / n, 0, 5 * 0.02 / std::sqrt(n));  // five standard errors
  EXPECT_NEAR(std::sqrt(squares / n), 0.02, 0.0002);
  EXPECT_NEAR(within / n, 0.6827, 0.005);
}

TEST(DummySource, GivesVectorsOfOnes) {
  const auto source = make_dummy_source();
  for (const bf16 value : source->require("norm", {70}).as<bf16>()) EXPECT_EQ(to_float(value), 1);
}

}  // namespace
}  // namespace krasis
