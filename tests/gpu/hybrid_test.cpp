// Generating with experts that are shared between the device and the processor: where an expert is
// computed must not matter beyond the processor's rounding of activations to 8 bits, and where the
// device computes all of them, must not matter at all.
#include <chrono>
#include <cstdio>
#include <thread>
#include <utility>

#include "base/error.h"
#include "gpu/experts_only.h"
#include "gpu/placed_model.h"
#include "weights/expert_tensors.h"

namespace krasis {
namespace {

using test::LoadedModel;
using test::PlacedModel;
using test::relative_error;
using test::Session;

constexpr std::size_t kPrompt = 24, kSteps = 40;

// Shares of the link are only taken if both rates are known.
ExpertPlacement placed(std::int64_t resident, double link_share, bool adaptive = false) {
  return {.resident = resident,
          .prompt_threshold = 1,  // prompts through the ring: the same bits wherever experts are
          .adaptive = adaptive,
          .link_rate = link_share,
          .processor_rate = 1 - link_share};
}
// All that is not resident over the link.
ExpertPlacement all_by_link(std::int64_t resident) {
  ExpertPlacement placement = placed(resident, 0.5);
  placement.processor_rate = 1e-9;
  return placement;
}

// Logits of the tokens after the prompt, one step a token.
std::vector<float> decode(LoadedModel& loaded, std::span<const std::int32_t> ids) {
  Session session(loaded, 64, 4, DType::BF16);
  Session::Sequence sequence = {.slot = 1};
  session.step(sequence, ids.first(kPrompt));
  std::vector<float> all;
  for (const std::int32_t& id : ids.subspan(kPrompt)) {
    const auto logits = session.step(sequence, std::span(&id, 1));
    all.insert(all.end(), logits.begin(), logits.end());
  }
  return all;
}

// The same for `count` sequences at once, each with a prompt of its own.
std::vector<float> decode_together(LoadedModel& loaded, std::span<const std::int32_t> ids,
                                   std::size_t count) {
  Session session(loaded, static_cast<std::int64_t>(2 * count), static_cast<std::int64_t>(count),
                  DType::BF16);
  std::vector<Session::Sequence> sequences(count);
  std::vector<float> all;
  for (std::size_t s = 0; s < count; ++s) {
    sequences[s].slot = static_cast<std::int64_t>(s);
    session.step(sequences[s], ids.subspan(s % 50, 3 + s % 5));
  }
  for (std::size_t step = 0; step < 6; ++step) {
    std::vector<Session::Part> parts;
    for (std::size_t s = 0; s < count; ++s)
      parts.push_back({&sequences[s], ids.subspan(60 + (7 * s + step) % 100, 1)});
    const auto logits = session.step(parts);
    all.insert(all.end(), logits.begin(), logits.end());
  }
  return all;
}

class Hybrid : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    KRASIS_NEEDS_REFERENCE();
    ids_ = test::Golden(GetParam()).values<std::int32_t>("input_ids");
    ids_.resize(200);
  }
  std::span<const std::int32_t> sequence() const { return std::span(ids_).first(kPrompt + kSteps); }
  int sparse_layers() const {
    const ModelSpec spec = read_model_description(test::reference_model_dir(GetParam())).spec;
    return static_cast<int>(krasis::sparse_layers(spec).size());
  }
  // So large a part of the model's experts.
  std::int64_t part_of_all(double part) const {
    const ModelSpec spec = read_model_description(test::reference_model_dir(GetParam())).spec;
    double all = 0;
    for (const SparseLayer& layer : krasis::sparse_layers(spec))
      all += static_cast<double>(layer.experts);
    return static_cast<std::int64_t>(part * all);
  }
  // With all experts in the device's memory, which no mailbox knows of.
  LoadedModel all_resident() const {
    Ops& ops = test::device_ops();
    return {test::reference_model_dir(GetParam()), ops, test::kPlacedFormats, 4};
  }
  std::vector<float> decode_placed(const ExpertPlacement& placement) const {
    PlacedModel model(GetParam(), placement);
    return decode(model.loaded(), sequence());
  }

  std::vector<std::int32_t> ids_;
};

TEST_P(Hybrid, TheDevicesShareAloneGivesTheSameBitsWhereverExpertsLie) {
  LoadedModel loaded = all_resident();
  const auto expected = decode(loaded, sequence());
  EXPECT_EQ(decode_placed(placed(part_of_all(1), 0)), expected) << "all resident";
  EXPECT_EQ(decode_placed(all_by_link(0)), expected) << "all over the link";
  EXPECT_EQ(decode_placed(all_by_link(part_of_all(0.3))), expected)
      << "some resident, the others over the link";
}

// Each expert that the processor computes is off by the rounding of its activations. With fewer of
// them there is less of that, but for tokens whose best experts are nearly as good as the next
// ones: a small error may send them elsewhere where a large one did not.
constexpr double kFactor = 2;

TEST_P(Hybrid, AShareOfTheProcessorIsNoFartherOffThanAllOnTheProcessor) {
  LoadedModel loaded = all_resident();
  const auto expected = decode(loaded, sequence());
  const double processor = relative_error(decode_placed(placed(0, 0)), expected);
  EXPECT_GT(processor, 0) << "the processor computed nothing";
  std::printf("hybrid %s: all on the processor %.2e", GetParam().c_str(), processor);
  for (const auto& [resident, share] : {std::pair{0.2, 0.0}, {0.7, 0.0}, {0.0, 0.4}, {0.5, 0.6}}) {
    const double error =
        relative_error(decode_placed(placed(part_of_all(resident), share)), expected);
    std::printf(", %.1f resident with %.1f over the link %.2e", resident, share, error);
    EXPECT_LE(error, kFactor * processor) << resident << " resident, " << share;
  }
  std::printf("\n");
}

TEST_P(Hybrid, SeveralSequencesAtOnceAreNoFartherOff) {
  for (const std::size_t count : {3, 70}) {  // the second in several questions a layer
    LoadedModel loaded = all_resident();
    const auto expected = decode_together(loaded, ids_, count);
    const auto error_of = [&](const ExpertPlacement& placement) {
      PlacedModel model(GetParam(), placement);
      return relative_error(decode_together(model.loaded(), ids_, count), expected);
    };
    const double processor = error_of(placed(0, 0)),
                 shared = error_of(placed(part_of_all(0.3), 0.4)),
                 device = error_of(all_by_link(part_of_all(0.3)));
    std::printf("hybrid %s, %zu sequences: processor %.2e, shared %.2e, device %.2e\n",
                GetParam().c_str(), count, processor, shared, device);
    EXPECT_LE(shared, kFactor * processor);
    // Many tokens take another kernel where all are resident (agreement_test.cpp).
    EXPECT_LE(device, count == 3 ? 0 : 6e-2);
  }
}

TEST_P(Hybrid, AnswersTheSameTwentyTimes) {
  PlacedModel model(GetParam(), placed(part_of_all(0.3), 0.4));
  const auto expected = decode(model.loaded(), sequence());
  for (int run = 1; run < 20; ++run)
    ASSERT_EQ(decode(model.loaded(), sequence()), expected) << "run " << run;
}

TEST_P(Hybrid, AnswersTheSameWithoutGraphs) {
  PlacedModel with(GetParam(), placed(part_of_all(0.3), 0.4));
  PlacedModel without(GetParam(), placed(part_of_all(0.3), 0.4), Model::kPartTokens,
                      {.scratch_bytes = test::kScratchBytes, .graphs = false});
  EXPECT_EQ(decode(without.loaded(), sequence()), decode(with.loaded(), sequence()));
}

TEST_P(Hybrid, ResidentsChangeWhileTokensAreGenerated) {
  LoadedModel loaded = all_resident();
  const auto expected = decode(loaded, sequence());
  const double processor = relative_error(decode_placed(placed(0, 0)), expected);
  // Where the device computes everything, no bit may show where an expert lies.
  ExpertPlacement by_link = all_by_link(part_of_all(0.4));
  by_link.adaptive = true;
  PlacedModel device(GetParam(), by_link), shared(GetParam(), placed(part_of_all(0.4), 0, true));
  for (int run = 0; run < 8; ++run) {
    ASSERT_EQ(decode(device.loaded(), sequence()), expected) << "run " << run;
    ASSERT_LE(relative_error(decode(shared.loaded(), sequence()), expected), kFactor * processor);
  }
  const auto heat = cuda::expert_heat(shared.ops());
  EXPECT_GT(*std::ranges::max_element(heat), 0);
  // Another run begins with what was hot in this one, and gives the same.
  PlacedModel again(GetParam(), by_link);
  cuda::set_expert_heat(again.ops(), heat);
  EXPECT_EQ(decode(again.loaded(), sequence()), expected);
}

// Computes some calls, then throws once.
class ThrowsOnce {
 public:
  ThrowsOnce() : processor_("cpu") {}
  Ops& ops() { return ops_; }
  void throw_after(int calls) { calls_ = calls; }

 private:
  test::Backend processor_;
  int calls_ = -1;
  test::ExpertsOnly ops_{processor_.ops(), [this](Ops& inner, const Experts& op) {
                           if (calls_-- == 0) throw Error(ErrorCode::OutOfMemory, "test: no room");
                           inner.experts(op);
                         }};
};

TEST_P(Hybrid, AnErrorOfTheProcessorEndsTheStepAndNoOther) {
  ThrowsOnce processor;
  PlacedModel model(GetParam(), placed(0, 0), Model::kPartTokens,
                    {.scratch_bytes = test::kScratchBytes}, &processor.ops());
  std::vector<float> expected;
  // A step that runs as it comes, one that is captured, repeated ones; in the first, in a later
  // layer.
  for (const int step : {-1, 0, 1, 2, 5}) {
    for (const int layer : {0, sparse_layers() - 1}) {
      Session session(model.loaded(), 64, 4, DType::BF16);
      Session::Sequence sequence;
      session.step(sequence, std::span(ids_).first(kPrompt));
      for (int i = 0; i <= step; ++i)
        session.step(sequence, std::span(ids_).subspan(kPrompt + static_cast<std::size_t>(i), 1));
      if (step >= 0) {
        processor.throw_after(layer);
        const auto start = std::chrono::steady_clock::now();
        EXPECT_THROW(session.step(sequence, std::span(ids_).subspan(100, 1)), Error);
        EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
        processor.throw_after(-1);
      }
      const auto answer = decode(model.loaded(), this->sequence());
      if (expected.empty()) expected = answer;
      EXPECT_EQ(answer, expected) << "after an error in step " << step << ", layer " << layer;
    }
  }
}

TEST_P(Hybrid, AnAnswerThatComesTooLateEndsTheStepAndNoOther) {
  test::Backend processor("cpu");
  bool late = false;
  test::ExpertsOnly slow(processor.ops(), [&](Ops& inner, const Experts& op) {
    if (std::exchange(late, false)) std::this_thread::sleep_for(std::chrono::milliseconds(1500));
    inner.experts(op);
  });
  ExpertPlacement placement = placed(0, 0);
  placement.patience = 0.5;
  PlacedModel model(GetParam(), placement, Model::kPartTokens,
                    {.scratch_bytes = test::kScratchBytes}, &slow);
  const auto expected = decode(model.loaded(), sequence());
  for (const std::size_t steps : {0, 2}) {  // as it comes, and repeated
    Session session(model.loaded(), 64, 4, DType::BF16);
    Session::Sequence sequence;
    session.step(sequence, std::span(ids_).first(kPrompt));
    for (std::size_t i = 0; i < steps; ++i)
      session.step(sequence, std::span(ids_).subspan(kPrompt + i, 1));
    late = true;
    try {
      session.step(sequence, std::span(ids_).subspan(100, 1));
      ADD_FAILURE() << "nothing was thrown after " << steps << " steps";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::Device) << error.what();
    }
    EXPECT_EQ(decode(model.loaded(), this->sequence()), expected) << "after " << steps << " steps";
  }
}

INSTANTIATE_TEST_SUITE_P(, Hybrid, testing::ValuesIn(test::models_with_experts()),
                         [](const auto& model) {
                           return test::test_name({model.param, "cuda"});
                         });

}  // namespace
}  // namespace krasis
