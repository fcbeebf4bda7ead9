#include "engine/engine.h"

#include <algorithm>
#include <array>
#include <future>
#include <gtest/gtest.h>
#include <latch>

#include "base/error.h"
#include "base/log.h"
#include "fake_runner.h"

namespace krasis {
namespace {

using test::fake_runner;
using test::FakeRunner;
using test::greedy_request;
using test::Listener;
using test::small_limits;

std::vector<std::int32_t> answer(Engine& engine, Request request) {
  Listener listener;
  engine.submit(std::move(request), listener.sink());
  listener.wait();
  return listener.tokens();
}

std::string refusal(Engine& engine, Request request) {
  try {
    engine.submit(std::move(request), [](const TokenEvent&) {});
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::InvalidArgument);
    return error.what();
  }
  return "";
}

// Greedy, from all of the distribution, or from a few highest logits.
Request varied_request(std::size_t index) {
  std::vector<std::int32_t> prompt(1 + (index * 7) % 23);
  for (std::size_t i = 0; i < prompt.size(); ++i)
    prompt[i] = static_cast<std::int32_t>((index * 31 + i * 17) % test::kFakeVocab);
  Request request = greedy_request(prompt, 1 + static_cast<std::int64_t>(index * 5 % 40));
  if (index % 3 == 0) {
    request.sampling = {.temperature = 0.9F, .top_p = 0.9F, .seed = index};
    request.sampling.presence_penalty = 0.5F;
  } else if (index % 3 == 1) {
    request.sampling = {
        .temperature = 0.9F, .top_k = 2 + static_cast<std::int64_t>(index), .seed = index};
  }
  return request;
}

TEST(Engine, ComputesWhatTheModelSays) {
  Engine engine(fake_runner(small_limits()), small_limits());
  const auto tokens = answer(engine, greedy_request({3, 4}, 3));
  std::uint64_t history = test::mix(test::mix(0 ^ 3U) ^ 4U);
  for (const std::int32_t token : tokens) {
    std::array<float, test::kFakeVocab> logits{};
    test::fake_logits(history, logits);
    EXPECT_EQ(token, std::ranges::max_element(logits) - logits.begin());
    history = test::mix(history ^ static_cast<std::uint64_t>(token));
  }
  EXPECT_EQ(tokens.size(), 3U);
}

TEST(Engine, AsksForWholeRowsOnlyIfARequestNeedsThem) {
  auto runner = fake_runner(small_limits());
  FakeRunner& model = *runner;
  Engine engine(std::move(runner), small_limits());
  answer(engine, greedy_request({3, 4}, 3));
  EXPECT_EQ(model.best_steps, 3);
  Request request = greedy_request({3, 4}, 3);
  request.sampling.logprobs = true;
  answer(engine, request);
  EXPECT_EQ(model.best_steps, 3);
}

TEST(Engine, SequencesTogetherSayWhatEachSaysAlone) {
  EngineLimits limits = small_limits();
  for (const std::int64_t pages : {64, 16}) {  // 16: one context, so the young ones must give way
    limits.pages = pages;
    Engine engine(fake_runner(limits), limits);
    std::array<Listener, 12> listeners;
    for (std::size_t i = 0; i < listeners.size(); ++i)
      engine.submit(varied_request(i), listeners[i].sink());
    for (auto& listener : listeners) listener.wait();
    for (std::size_t i = 0; i < listeners.size(); ++i)
      EXPECT_EQ(listeners[i].tokens(), answer(engine, varied_request(i))) << i;
  }
}

TEST(Engine, ReportsCountsTimesAndReason) {
  Engine engine(fake_runner(small_limits()), small_limits());
  Listener listener;
  engine.submit(greedy_request({1, 2, 3}, 5), listener.sink());
  listener.wait();
  const TokenEvent last = listener.last();
  EXPECT_EQ(last.finish, FinishReason::Length);
  EXPECT_EQ(last.prompt_tokens, 3);
  EXPECT_EQ(last.generated_tokens, 5);
  EXPECT_TRUE(last.token.has_value());
  EXPECT_GT(last.prefill_ms, 0);
  EXPECT_GT(last.decode_ms, 0);
  EXPECT_EQ(engine.status().prompt_tokens, 3U);
  EXPECT_EQ(engine.status().generated_tokens, 5U);
}

TEST(Engine, EndsAfterAnEndTokenUnlessToldNotTo) {
  Engine engine(fake_runner(small_limits()), small_limits());
  const auto free_run = answer(engine, greedy_request({5}, 10));
  Request request = greedy_request({5}, 10);
  request.end_ids = {free_run[3]};
  const auto first = std::ranges::find(free_run, free_run[3]) - free_run.begin();
  Listener listener;
  engine.submit(request, listener.sink());
  listener.wait();
  EXPECT_EQ(listener.last().finish, FinishReason::End);
  EXPECT_EQ(listener.tokens().size(), static_cast<std::size_t>(first + 1));
  request.ignore_end = true;
  EXPECT_EQ(answer(engine, request), free_run);
}

TEST(Engine, GeneratesAsTheContextAllowsWithoutALimit) {
  Engine engine(fake_runner(small_limits()), small_limits());
  EXPECT_EQ(answer(engine, greedy_request({1, 2, 3, 4}, 0)).size(), 60U);
  EXPECT_EQ(answer(engine, greedy_request(std::vector<std::int32_t>(63, 1), 0)).size(), 1U);
}

TEST(Engine, RefusesWithTheActualNumbers) {
  Engine engine(fake_runner(small_limits()), small_limits());
  EXPECT_EQ(refusal(engine, greedy_request({}, 1)), "request: the prompt has no tokens");
  EXPECT_EQ(refusal(engine, greedy_request({50}, 1)),
            "request: the prompt names token 50, the vocabulary has 50");
  EXPECT_EQ(refusal(engine, greedy_request({1}, -1)),
            "request: max_tokens is -1, choose at least 1");
  EXPECT_EQ(refusal(engine, greedy_request(std::vector<std::int32_t>(64, 1), 0)),
            "request: the prompt has 64 tokens, the context holds 64 with at least one of them for "
            "the answer; shorten the prompt");
  EXPECT_EQ(
      refusal(engine, greedy_request(std::vector<std::int32_t>(60, 1), 5)),
      "request: the prompt has 60 tokens and max_tokens is 5, together more than the context's "
      "64; shorten the prompt or choose max_tokens up to 4");
  EXPECT_EQ(refusal(engine, greedy_request(std::vector<std::int32_t>(60, 1), INT64_MAX)),
            "request: the prompt has 60 tokens and max_tokens is 9223372036854775807, together "
            "more than the context's 64; shorten the prompt or choose max_tokens up to 4");
  Request request = greedy_request({1}, 1);
  request.sampling.top_p = 1.5F;
  EXPECT_EQ(refusal(engine, request), "sampling: top_p is 1.5, choose above 0, up to 1");
}

TEST(Engine, CancelsWithinAStep) {
  auto runner = fake_runner(small_limits());
  std::atomic<int> steps{0};
  runner->before_step = [&](const Batch&) { ++steps; };
  Engine engine(std::move(runner), small_limits());
  std::atomic<int> steps_at_cancel{0};
  std::promise<RequestId> id;
  auto id_of = id.get_future().share();
  Listener listener;
  const EventSink sink = listener.sink();
  id.set_value(engine.submit(greedy_request({1}, 0), [&](const TokenEvent& event) {
    sink(event);
    if (event.token && listener.tokens().size() == 3) {
      steps_at_cancel = steps.load();
      engine.cancel(id_of.get());
    }
  }));
  listener.wait();
  EXPECT_EQ(listener.last().finish, FinishReason::Cancelled);
  EXPECT_LE(steps - steps_at_cancel, 1);
  EXPECT_FALSE(listener.last().token.has_value());
  EXPECT_EQ(listener.last().generated_tokens, 3);
  EXPECT_EQ(engine.status().pages_free, engine.status().pages_total);
}

TEST(Engine, CancelsWhatStillWaits) {
  EngineLimits limits = small_limits();
  limits.max_sequences = 1;
  auto runner = fake_runner(limits);
  std::latch go(1);
  runner->before_step = [&](const Batch&) { go.wait(); };
  Engine engine(std::move(runner), limits);
  Listener first, second;
  engine.submit(greedy_request({1}, 4), first.sink());
  const RequestId waiting = engine.submit(greedy_request({1}, 4), second.sink());
  engine.cancel(waiting);
  engine.cancel(waiting);
  engine.cancel(12345);
  go.count_down();
  first.wait();
  second.wait();
  EXPECT_EQ(first.last().finish, FinishReason::Length);
  EXPECT_EQ(second.last().finish, FinishReason::Cancelled);
  EXPECT_EQ(second.last().generated_tokens, 0);
}

TEST(Engine, AFailedStepEndsItsRequestsAndNoOthers) {
  log::set_level(log::Level::Off);
  auto runner = fake_runner(small_limits());
  bool fail = true;
  runner->before_step = [&](const Batch&) {
    if (std::exchange(fail, false)) throw std::runtime_error("the device is gone");
  };
  Engine engine(std::move(runner), small_limits());
  Listener failed;
  engine.submit(greedy_request({1}, 4), failed.sink());
  failed.wait();
  EXPECT_EQ(failed.last().finish, FinishReason::Failed);
  EXPECT_EQ(failed.last().error, "the device is gone");
  EXPECT_EQ(answer(engine, greedy_request({1}, 4)).size(), 4U);
  EXPECT_EQ(engine.status().pages_free, engine.status().pages_total);
}

// Memory that runs out in the nth step, after the step has changed pages and slots.
std::array<std::vector<std::int32_t>, 6> varied_answers() {
  std::array<std::vector<std::int32_t>, 6> answers;
  Engine engine(fake_runner(small_limits()), small_limits());
  for (std::size_t i = 0; i < answers.size(); ++i) answers[i] = answer(engine, varied_request(i));
  return answers;
}

// Asks for all of them at once; none of them is lost.
void expect_varied_answers(Engine& engine,
                           const std::array<std::vector<std::int32_t>, 6>& expected) {
  std::array<Listener, 6> listeners;
  for (std::size_t i = 0; i < expected.size(); ++i)
    engine.submit(varied_request(i), listeners[i].sink());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    listeners[i].wait();
    EXPECT_EQ(listeners[i].tokens(), expected[i]) << "request " << i;
  }
  EXPECT_EQ(engine.status().pages_free, engine.status().pages_total);
}

TEST(Engine, AStepThatRunsOutOfMemoryIsBegunAgainAndLosesNothing) {
  log::set_level(log::Level::Off);
  const auto expected = varied_answers();
  for (int failing = 1; failing < 40; ++failing) {
    auto runner = fake_runner(small_limits());
    const FakeRunner& told = *runner;
    int steps = 0;
    runner->after_step = [&](const Batch&) {
      if (++steps == failing) throw Error(ErrorCode::OutOfMemory, "no memory");
    };
    Engine engine(std::move(runner), small_limits());
    expect_varied_answers(engine, expected);
    const int refused = steps >= failing ? 1 : 0;
    EXPECT_EQ(told.steps_down, refused) << "step " << failing;
    EXPECT_EQ(engine.status().steps_without_memory, static_cast<std::uint64_t>(refused));
  }
}

// What a step may hold at most, as memory that never becomes more.
void refuse_more(FakeRunner& runner, std::int64_t tokens) {
  runner.after_step = [tokens](const Batch& batch) {
    if (batch.tokens() > tokens) throw Error(ErrorCode::OutOfMemory, "no memory");
  };
}

TEST(Engine, StepsBecomeSmallUntilTheyFit) {
  log::set_level(log::Level::Off);
  const EngineLimits limits = {.context_length = 512,
                               .max_sequences = 3,
                               .prompt_chunk = 65536,  // far more than is ever in use
                               .page_tokens = 16,
                               .pages = 3 * 32};
  std::vector<Request> requests;
  for (const std::size_t tokens : {300U, 1U, 200U, 33U, 7U})
    requests.push_back(greedy_request(std::vector<std::int32_t>(tokens, 4), 20));
  std::vector<std::vector<std::int32_t>> expected;
  {
    Engine engine(fake_runner(limits), limits);
    for (const Request& request : requests) expected.push_back(answer(engine, request));
  }
  for (const std::int64_t most : {35, 40, 100, 250}) {
    auto runner = fake_runner(limits);
    refuse_more(*runner, most);
    Engine engine(std::move(runner), limits);
    std::vector<Listener> listeners(requests.size());
    for (std::size_t i = 0; i < requests.size(); ++i)
      engine.submit(requests[i], listeners[i].sink());
    for (std::size_t i = 0; i < requests.size(); ++i) {
      listeners[i].wait();
      EXPECT_EQ(listeners[i].tokens(), expected[i]) << "request " << i << ", at most " << most;
    }
    // From what was in use, not from the limits: a few each time that steps were large again.
    EXPECT_GE(engine.status().steps_without_memory, 1U) << "at most " << most;
    EXPECT_LE(engine.status().steps_without_memory, 10U) << "at most " << most;
  }
}

TEST(Engine, WhereTokensOfAnswersAloneAreTooManyFewerRequestsRunAtOnce) {
  log::set_level(log::Level::Off);
  auto runner = fake_runner(small_limits());
  refuse_more(*runner, 2);
  Engine engine(std::move(runner), small_limits());
  std::array<Listener, 4> listeners;
  for (Listener& one : listeners) engine.submit(greedy_request({5}, 12), one.sink());
  for (Listener& one : listeners) {
    one.wait();
    EXPECT_EQ(one.last().finish, FinishReason::Length);
    EXPECT_EQ(one.tokens(), listeners[0].tokens());
  }
  EXPECT_GE(engine.status().steps_without_memory, 1U);
}

TEST(Engine, StepsAreAsLargeAsAtFirstAgainAfterARequestThatWentWell) {
  log::set_level(log::Level::Off);
  auto runner = fake_runner(small_limits());
  const FakeRunner& told = *runner;
  int refusals = 2;
  runner->after_step = [&](const Batch& batch) {
    if (batch.segments.size() > 1 && refusals-- > 0)
      throw Error(ErrorCode::OutOfMemory, "no memory");
  };
  Engine engine(std::move(runner), small_limits());
  const StepLimits most = engine.status().step_limits;
  EXPECT_EQ(most, (StepLimits{.prompt_tokens = 8, .sequences = 4}));
  std::array<Listener, 4> listeners;
  for (Listener& one : listeners) engine.submit(greedy_request({5}, 30), one.sink());
  for (Listener& one : listeners) one.wait();
  answer(engine, greedy_request({5}, 3));
  EXPECT_GE(told.steps_down, 1);
  EXPECT_GE(told.steps_up, 1);
  EXPECT_EQ(engine.status().step_limits, most);
}

TEST(Engine, WhereTheProgramsOwnMemoryIsUsedUpTheStepIsBegunAgain) {
  log::set_level(log::Level::Off);
  auto runner = fake_runner(small_limits());
  int refusals = 1;
  runner->after_step = [&](const Batch&) {
    if (refusals-- > 0) throw std::bad_alloc();
  };
  Engine engine(std::move(runner), small_limits());
  Listener one;
  engine.submit(greedy_request({5}, 4), one.sink());
  one.wait();
  EXPECT_EQ(one.last().finish, FinishReason::Length);
  EXPECT_EQ(engine.status().steps_without_memory, 1U);
}

TEST(Engine, GivesUpARequestOnlyWhereStepsCannotBeSmaller) {
  log::set_level(log::Level::Off);
  auto runner = fake_runner(small_limits());
  int steps = 0;
  runner->before_step = [&](const Batch& batch) {
    ++steps;
    // Its prompt is read well every time, and its second token never comes.
    if (batch.segments[0].past == 40) throw Error(ErrorCode::OutOfMemory, "no memory");
  };
  Engine engine(std::move(runner), small_limits());
  Listener failed, well;
  engine.submit(greedy_request(std::vector<std::int32_t>(40, 1), 4), failed.sink());
  engine.submit(greedy_request({1}, 4), well.sink());
  failed.wait();
  EXPECT_EQ(failed.last().finish, FinishReason::Failed);
  EXPECT_EQ(failed.last().error, "no memory");
  EXPECT_EQ(failed.last().error_code, ErrorCode::OutOfMemory);
  EXPECT_EQ(failed.tokens().size(), 1U);
  well.wait();
  EXPECT_EQ(well.last().finish, FinishReason::Length);
  EXPECT_LE(steps, 60);
}

// Answers NaN to any sequence whose newest token is 13.
class SometimesNan final : public test::RowsRunner {
 public:
  std::int64_t vocab() const override { return 20; }
  void forward(const Batch& batch, MutableRows logits) override {
    for (std::int64_t row = 0; row < logits.rows; ++row) {
      std::fill_n(logits.row(row), 20, 0.0F);
      const auto token = static_cast<std::size_t>(batch.logit_rows[static_cast<std::size_t>(row)]);
      if (batch.ids[token] == 13) logits.row(row)[4] = std::numeric_limits<float>::quiet_NaN();
    }
  }
};

TEST(Engine, LogitsThatAreNoNumbersEndOneRequestOnly) {
  Engine engine(std::make_unique<SometimesNan>(), small_limits());
  Listener good, bad;
  engine.submit(greedy_request({1}, 30), good.sink());
  engine.submit(greedy_request({13}, 30), bad.sink());
  good.wait();
  bad.wait();
  EXPECT_EQ(good.last().finish, FinishReason::Length);
  EXPECT_EQ(bad.last().finish, FinishReason::Failed);
  EXPECT_EQ(bad.last().error,
            "sampling: the logit of token 4 is nan; the model's weights or a kernel are damaged");
}

TEST(Engine, AListenerThatThrowsLosesOnlyItsOwnRequest) {
  log::set_level(log::Level::Off);
  Engine engine(fake_runner(small_limits()), small_limits());
  engine.submit(greedy_request({1}, 4), [](const TokenEvent&) { throw std::bad_alloc(); });
  EXPECT_EQ(answer(engine, greedy_request({1}, 4)).size(), 4U);
}

TEST(Engine, CancelsWhatIsUnderWayWhenItEnds) {
  std::array<Listener, 6> listeners;
  {
    Engine engine(fake_runner(small_limits()), small_limits());
    for (auto& listener : listeners) engine.submit(greedy_request({1}, 0), listener.sink());
    listeners[0].wait_for_tokens(1);
  }
  for (auto& listener : listeners) EXPECT_NE(listener.last().finish, FinishReason::None);
}

TEST(Engine, NoPromptHoldsUpTheOthersForMoreThanAChunk) {
  auto runner = fake_runner(small_limits());
  std::int64_t longest = 0;
  runner->before_step = [&](const Batch& batch) { longest = std::max(longest, batch.tokens()); };
  Engine engine(std::move(runner), small_limits());
  Listener talking, reading;
  engine.submit(greedy_request({1}, 40), talking.sink());
  talking.wait_for_tokens(1);
  engine.submit(greedy_request(std::vector<std::int32_t>(50, 2), 2), reading.sink());
  talking.wait();
  reading.wait();
  EXPECT_LE(longest, 8 + 4);  // prompt_chunk and a token of each sequence
}

}  // namespace
}  // namespace krasis
