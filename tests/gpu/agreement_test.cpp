// What must not depend on how tokens are divided into steps, on graphs, on the run, or on whether
// the processor or the device computes. Runs whose numbers are compared give every token the same
// experts (routed_ops.h): those of the processor with weights as stored, which are the golden ones.
#include <cmath>
#include <cstdio>
#include <random>

#include "gpu/device.h"
#include "gpu/routed_ops.h"
#include "model/loaded_model.h"

namespace krasis {
namespace {

using test::LoadedModel;
using test::relative_error;
using test::RoutedOps;
using test::Routes;
using test::Session;

// One token and many take different kernels, which round at different places. Rounding an operand
// to BF16 is an error of 2^-9 / sqrt(3) = 1.1e-3 on average; a number passes some six such products
// a layer, 24 in four layers, whose errors add up like a random walk to 5.5e-3; two runs differ by
// sqrt(2) of that.
constexpr double kTolerance = 1e-2;
// The processor rounds activations to 1/127 of the largest in their group before products with
// tiles: for normal numbers, whose largest of 128 is 2.8 deviations, an error of 2.8 / 127 /
// sqrt(12) = 6.4e-3, after the product of gate and up, whose largest is about 6 deviations, 1.4e-2.
// Of 24 roundings four are the latter: sqrt(20 * 6.4e-3^2 + 4 * 1.4e-2^2) = 4e-2.
constexpr double kQuantizedTolerance = 4.5e-2;
constexpr std::size_t kTokens = 200;

constexpr DenseFormats kAllInt8 = {.attention = DenseFormat::Int8,
                                   .shared_expert = DenseFormat::Int8,
                                   .dense_mlp = DenseFormat::Int8,
                                   .lm_head = DenseFormat::Int8};

std::vector<float> in_pieces(LoadedModel& loaded, std::span<const std::int32_t> ids,
                             std::span<const std::size_t> sizes, DType kv_type = DType::BF16) {
  const auto pages = std::ssize(ids) / Session::kPageTokens + 2;
  Session session(loaded, pages, 4, kv_type);
  Session::Sequence sequence = {.slot = 2};
  std::vector<float> all;
  for (const std::size_t size : sizes) {
    const auto logits = session.step(sequence, ids.first(size));
    all.insert(all.end(), logits.begin(), logits.end());
    ids = ids.subspan(size);
  }
  EXPECT_TRUE(ids.empty());
  return all;
}

// Tokens that follow the prompt, and the logits that chose them.
struct Answer {
  std::vector<std::int32_t> ids;
  std::vector<float> logits;
  friend bool operator==(const Answer&, const Answer&) = default;
};
Answer answer(LoadedModel& loaded, std::span<const std::int32_t> prompt,
              DType kv_type = DType::BF16) {
  Session session(loaded, 64, 4, kv_type);
  Session::Sequence sequence;
  Answer result;
  const auto vocab = static_cast<std::ptrdiff_t>(loaded.spec().vocab);
  std::vector<float> logits = session.step(sequence, prompt);
  for (int i = 0; i < 24; ++i) {
    const auto last = logits.end() - vocab;
    result.ids.push_back(static_cast<std::int32_t>(std::max_element(last, logits.end()) - last));
    result.logits.insert(result.logits.end(), last, logits.end());
    logits = session.step(sequence, std::span(&result.ids.back(), 1));
  }
  return result;
}

class OnDevice : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    KRASIS_NEEDS_REFERENCE();
    ids_ = test::Golden(GetParam()).values<std::int32_t>("input_ids");
    ids_.resize(kTokens);
  }
  LoadedModel load(Ops& ops, const DenseFormats& formats = {}, int expert_bits = 16) const {
    return {test::reference_model_dir(GetParam()), ops, formats, expert_bits};
  }
  // The experts of a sequence of these tokens.
  Routes routes_of(std::span<const std::int32_t> ids) {
    RoutedOps ops(processor_.ops());
    LoadedModel loaded = load(ops);
    ops.record();
    const std::size_t whole[] = {ids.size()};
    in_pieces(loaded, ids, whole);
    return ops.recorded();
  }
  // Logits of ids_ from operations that give tokens the experts of `routes`.
  std::vector<float> logits_with(const Routes& routes, Ops& backend, int bits) {
    RoutedOps ops(backend);
    LoadedModel loaded = load(ops, kAllInt8, bits);
    ops.give(routes);
    const std::size_t whole[] = {kTokens};
    return in_pieces(loaded, ids_, whole);
  }
  void expect_like_the_processor(int bits) {
    const Routes routes = routes_of(ids_);
    const auto device = logits_with(routes, test::device_ops(), bits);
    const auto processor = logits_with(routes, processor_.ops(), bits);
    const double error = relative_error(device, processor);
    const double device_error = golden_error(device);
    const double processor_error = golden_error(processor);
    std::printf("int%d %s: device against processor %.2e; golden: device %.2e, processor %.2e\n",
                bits, GetParam().c_str(), error, device_error, processor_error);
    EXPECT_LE(error, kQuantizedTolerance);
    // Both have the weights' error; the device has its own rounding beside it, but not the
    // processor's.
    EXPECT_LE(device_error, std::hypot(processor_error, kTolerance));
  }

  // How far logits are from the golden ones.
  double golden_error(const std::vector<float>& logits) const {
    auto golden = test::Golden(GetParam()).values<float>("logits");
    golden.resize(logits.size());
    return relative_error(logits, golden);
  }

  test::Backend processor_{"cpu"};
  std::vector<std::int32_t> ids_;
};

TEST_P(OnDevice, APromptAtOnceIsTheSameTokenByTokenAndInChunks) {
  const Routes routes = routes_of(ids_);
  RoutedOps ops(test::device_ops());
  LoadedModel loaded = load(ops);
  const auto logits = [&](std::span<const std::size_t> sizes) {
    ops.give(routes);
    return in_pieces(loaded, ids_, sizes);
  };
  const std::size_t whole[] = {kTokens}, uneven[] = {1, 2, 30, 7, 128, 32};
  const auto expected = logits(whole);
  const std::vector<std::size_t> ones(kTokens, 1);
  const double by_token = relative_error(logits(ones), expected);
  const double in_chunks = relative_error(logits(uneven), expected);
  std::printf("pieces %s: by token %.2e, in chunks %.2e\n", GetParam().c_str(), by_token,
              in_chunks);
  EXPECT_LE(by_token, kTolerance);
  EXPECT_LE(in_chunks, kTolerance);
}

// So many tokens that latents are expanded at once, and not in chunks
// (cuda/attention_expanded_plan.h).
TEST_P(OnDevice, ALongPromptAtOnceIsTheSameInChunks) {
  constexpr std::size_t kLong = 2900;
  std::mt19937 random(11);
  std::vector<std::int32_t> ids(kLong);
  for (std::int32_t& id : ids) id = static_cast<std::int32_t>(random() % 256);
  const Routes routes = routes_of(ids);
  RoutedOps ops(test::device_ops());
  LoadedModel loaded = load(ops);
  const auto logits = [&](std::span<const std::size_t> sizes) {
    ops.give(routes);
    return in_pieces(loaded, ids, sizes);
  };
  const std::size_t whole[] = {kLong}, chunks[] = {500, 1000, 3, 597, 800};
  const double error = relative_error(logits(chunks), logits(whole));
  std::printf("long %s: in chunks %.2e\n", GetParam().c_str(), error);
  EXPECT_LE(error, kTolerance);
}

TEST_P(OnDevice, ASequenceInABatchIsTheSameAsAlone) {
  const std::span all(ids_);
  const auto first_ids = all.subspan(0, 24), second_ids = all.subspan(5, 34),
             third_ids = all.subspan(40, 17);
  const Routes first_routes = routes_of(first_ids), second_routes = routes_of(second_ids),
               third_routes = routes_of(third_ids);
  RoutedOps ops(test::device_ops());
  LoadedModel loaded = load(ops);
  Session session(loaded, 64, 4, DType::BF16);
  Session::Sequence first = {.slot = 3}, second = {.slot = 0}, third = {.slot = 1};
  const Session::Part one[] = {{&first, first_ids.first(20)}, {&second, second_ids.first(33)}};
  const Session::Part two[] = {
      {&second, second_ids.subspan(33)}, {&third, third_ids}, {&first, first_ids.subspan(20)}};
  Routes together = first_routes.slice(0, 20);
  for (const Routes& part : {second_routes.slice(0, 33), second_routes.slice(33, 1), third_routes,
                             first_routes.slice(20, 4)})
    together.append(part);
  ops.give(together);
  const auto before = session.step(one), after = session.step(two);
  const auto vocab = static_cast<std::size_t>(loaded.spec().vocab);
  const auto rows = [&](const std::vector<float>& logits, std::size_t row, std::size_t count) {
    return std::span(logits).subspan(row * vocab, count * vocab);
  };
  const auto alone = [&](std::span<const std::int32_t> ids, const Routes& routes) {
    ops.give(routes);
    const std::size_t whole[] = {ids.size()};
    return in_pieces(loaded, ids, whole);
  };
  const auto first_alone = alone(first_ids, first_routes),
             second_alone = alone(second_ids, second_routes),
             third_alone = alone(third_ids, third_routes);
  EXPECT_LE(relative_error(rows(before, 0, 20), rows(first_alone, 0, 20)), kTolerance);
  EXPECT_LE(relative_error(rows(before, 20, 33), rows(second_alone, 0, 33)), kTolerance);
  EXPECT_LE(relative_error(rows(after, 0, 1), rows(second_alone, 33, 1)), kTolerance);
  EXPECT_LE(relative_error(rows(after, 1, 17), rows(third_alone, 0, 17)), kTolerance);
  EXPECT_LE(relative_error(rows(after, 18, 4), rows(first_alone, 20, 4)), kTolerance);
}

TEST_P(OnDevice, Int4IsWhatItIsOnTheProcessor) {
  expect_like_the_processor(4);
}
TEST_P(OnDevice, Int8IsWhatItIsOnTheProcessor) {
  expect_like_the_processor(8);
}

// Where the processor's key is just below the middle of two E4M3 and the device's just above, they
// are 12 % apart; so results are compared by how far both are from the golden ones.
TEST_P(OnDevice, AnE4M3CacheCostsWhatItCostsOnTheProcessor) {
  test::Backend processor("cpu");
  LoadedModel on_processor = load(processor.ops()), on_device = load(test::device_ops());
  const std::size_t whole[] = {kTokens}, uneven[] = {1, 2, 30, 7, 128, 32};
  const double expected = golden_error(in_pieces(on_processor, ids_, whole, DType::F8E4M3));
  const double at_once = golden_error(in_pieces(on_device, ids_, whole, DType::F8E4M3));
  const double in_chunks = golden_error(in_pieces(on_device, ids_, uneven, DType::F8E4M3));
  std::printf("e4m3 %s: golden: processor %.2e, device %.2e, in chunks %.2e\n", GetParam().c_str(),
              expected, at_once, in_chunks);
  constexpr double kOfBf16 = 2e-2;  // golden_test.cpp
  EXPECT_LE(at_once, 1.3 * expected + kOfBf16);
  EXPECT_LE(in_chunks, 1.3 * expected + kOfBf16);
}

TEST_P(OnDevice, AnswersTheSameTwentyTimes) {
  LoadedModel loaded = load(test::device_ops(), kAllInt8, 4);
  const std::span<const std::int32_t> prompt = std::span(ids_).first(100);
  const Answer expected = answer(loaded, prompt);
  for (int run = 1; run < 20; ++run) ASSERT_EQ(answer(loaded, prompt), expected) << "run " << run;
}

TEST_P(OnDevice, AnswersTheSameWithoutGraphs) {
  const auto plain = test::make_device_ops({.graphs = false});
  LoadedModel with = load(test::device_ops()), without = load(*plain);
  const std::span<const std::int32_t> prompt = std::span(ids_).first(100);
  for (const DType kv_type : {DType::BF16, DType::F8E4M3})
    EXPECT_EQ(answer(with, prompt, kv_type), answer(without, prompt, kv_type));
}

INSTANTIATE_TEST_SUITE_P(, OnDevice, testing::ValuesIn(test::reference_models()),
                         [](const auto& model) {
                           return test::test_name({model.param, "cuda"});
                         });

}  // namespace
}  // namespace krasis
