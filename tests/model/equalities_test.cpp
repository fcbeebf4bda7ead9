// What must not depend on how tokens are divided into steps.
#include <gtest/gtest.h>

#include "model/loaded_model.h"

namespace krasis {
namespace {

using test::LoadedModel;
using test::relative_error;
using test::Session;

// No operation's result for a row depends on the rows beside it, so at most attention and the delta
// net meet the same terms in another order: a few roundings of 2^-24 in sums of a few hundred
// terms.
constexpr double kEqualityTolerance = 1e-6;
constexpr std::size_t kTokens = 72;  // more than four pages

class Equalities : public testing::TestWithParam<test::Case> {
 protected:
  void SetUp() override {
    KRASIS_NEEDS_REFERENCE();
    backend_ = std::make_unique<test::Backend>(GetParam().backend);
    loaded_ =
        std::make_unique<LoadedModel>(test::reference_model_dir(GetParam().model), backend_->ops());
    ids_ = test::Golden(GetParam().model).values<std::int32_t>("input_ids");
    ids_.resize(kTokens);
  }

  // Logits of all tokens, with the prompt cut into pieces of these sizes.
  std::vector<float> in_pieces(std::span<const std::size_t> sizes) {
    Session session(*loaded_);
    Session::Sequence sequence = {.slot = 2};
    std::vector<float> all;
    std::size_t next = 0;
    for (const std::size_t size : sizes) {
      const auto logits = session.step(sequence, std::span(ids_).subspan(next, size));
      all.insert(all.end(), logits.begin(), logits.end());
      next += size;
    }
    EXPECT_EQ(next, ids_.size());
    return all;
  }

  std::vector<float> alone(std::span<const std::int32_t> ids) {
    Session session(*loaded_);
    Session::Sequence sequence;
    return session.step(sequence, ids);
  }

  std::unique_ptr<test::Backend> backend_;
  std::unique_ptr<LoadedModel> loaded_;
  std::vector<std::int32_t> ids_;
};

TEST_P(Equalities, APromptAtOnceIsTheSameTokenByToken) {
  const std::vector<std::size_t> ones(kTokens, 1);
  EXPECT_LE(relative_error(in_pieces(ones), alone(ids_)), kEqualityTolerance);
}

TEST_P(Equalities, APromptAtOnceIsTheSameInUnevenChunks) {
  EXPECT_LE(relative_error(in_pieces(std::vector<std::size_t>{1, 2, 30, 7, 32}), alone(ids_)),
            kEqualityTolerance);
}

TEST_P(Equalities, ASequenceInABatchIsTheSameAsAlone) {
  const std::span all(ids_);
  Session session(*loaded_);
  Session::Sequence first = {.slot = 3}, second = {.slot = 0}, third = {.slot = 1};
  const Session::Part one[] = {{&first, all.subspan(0, 20)}, {&second, all.subspan(5, 33)}};
  const Session::Part two[] = {
      {&second, all.subspan(38, 1)}, {&third, all.subspan(40, 17)}, {&first, all.subspan(20, 4)}};
  const auto before = session.step(one), after = session.step(two);
  const auto vocab = static_cast<std::size_t>(loaded_->spec().vocab);
  const auto rows = [&](const std::vector<float>& logits, std::size_t row, std::size_t count) {
    return std::span(logits).subspan(row * vocab, count * vocab);
  };
  const auto first_alone = alone(all.subspan(0, 24));
  const auto second_alone = alone(all.subspan(5, 34));
  const auto third_alone = alone(all.subspan(40, 17));
  EXPECT_LE(relative_error(rows(before, 0, 20), rows(first_alone, 0, 20)), kEqualityTolerance);
  EXPECT_LE(relative_error(rows(before, 20, 33), rows(second_alone, 0, 33)), kEqualityTolerance);
  EXPECT_LE(relative_error(rows(after, 0, 1), rows(second_alone, 33, 1)), kEqualityTolerance);
  EXPECT_LE(relative_error(rows(after, 1, 17), rows(third_alone, 0, 17)), kEqualityTolerance);
  EXPECT_LE(relative_error(rows(after, 18, 4), rows(first_alone, 20, 4)), kEqualityTolerance);
}

TEST_P(Equalities, APromptThatGoesThroughEveryLayerInPartsIsTheSame) {
  const std::span all(ids_);
  const auto two_prompts = [&](LoadedModel& loaded) {
    Session session(loaded);
    Session::Sequence first = {.slot = 3}, second = {.slot = 0};
    const Session::Part before[] = {{&first, all.first(9)}};
    const Session::Part both[] = {{&first, all.subspan(9, 40)}, {&second, all.subspan(5, 23)}};
    session.step(before);
    return session.step(both);
  };
  const auto whole = two_prompts(*loaded_);
  for (const std::int64_t part_tokens : {1, 17, 40}) {
    LoadedModel in_parts(
        test::reference_model_dir(GetParam().model), backend_->ops(), {},
        [&](const ModelDescription& model, TensorSource& source) {
          return test::load_experts(model, source, 16, backend_->ops().memory());
        },
        part_tokens);
    EXPECT_LE(relative_error(two_prompts(in_parts), whole), kEqualityTolerance) << part_tokens;
  }
}

TEST_P(Equalities, AUsedSlotAndUsedPagesAreLikeNew) {
  Session session(*loaded_);
  Session::Sequence sequence = {.slot = 1};
  const auto before = session.step(sequence, ids_);
  sequence.past = 0;
  EXPECT_LE(relative_error(session.step(sequence, ids_), before), 0);
}

// The oracle is slow; two models show it all kinds of layers.
std::vector<test::Case> cases() {
  std::vector<test::Case> cases = {{"qwen3-next-tiny", "reference"},
                                   {"deepseek-v3-tiny", "reference"}};
  for (const std::string& model : test::reference_models()) cases.push_back({model, "cpu"});
  return cases;
}

INSTANTIATE_TEST_SUITE_P(, Equalities, testing::ValuesIn(cases()),
                         [](const auto& model) { return test::test_name(model.param); });

}  // namespace
}  // namespace krasis
