// Answers of an engine, and whether they are as good as those of a model with all experts in the
// device's memory and room for everything.
#pragma once

#include <future>
#include <vector>

#include "engine/engine.h"
#include "gpu/device.h"
#include "model/loaded_model.h"

namespace krasis::test {

struct Answer {
  std::vector<std::int32_t> tokens;
  FinishReason finish = FinishReason::None;
  ErrorCode error_code = ErrorCode::Internal;
};

// Greedy; `count` tokens.
inline std::future<Answer> ask(Engine& engine, const std::vector<std::int32_t>& prompt,
                               std::int64_t count) {
  struct Heard {
    Answer answer;
    std::promise<Answer> over;
  };
  const auto heard = std::make_shared<Heard>();
  Request request;
  request.prompt = prompt;
  request.max_tokens = count;
  request.ignore_end = true;
  request.sampling.temperature = 0;
  engine.submit(std::move(request), [heard](const TokenEvent& event) {
    if (event.token) heard->answer.tokens.push_back(*event.token);
    if (event.finish == FinishReason::None) return;
    heard->answer.finish = event.finish;
    heard->answer.error_code = event.error_code;
    heard->over.set_value(heard->answer);
  });
  return heard->over.get_future();
}

// How much better the best token of each place would have been, when all of the answer is given to
// the judge; in the root mean square of its logits.
inline std::vector<double> shortfalls(const std::vector<std::int32_t>& answer,
                                      const std::vector<std::int32_t>& prompt, LoadedModel& judge) {
  std::vector<std::int32_t> ids = prompt;
  ids.insert(ids.end(), answer.begin(), answer.end() - 1);
  const auto pages = static_cast<std::int64_t>(ids.size()) / Session::kPageTokens + 1;
  Session session(judge, pages, 1, DType::BF16);
  Session::Sequence sequence;
  const std::vector<float> logits = session.step(sequence, ids);
  const auto vocab = static_cast<std::size_t>(judge.spec().vocab);
  std::vector<double> all;
  for (std::size_t i = 0; i < answer.size(); ++i) {
    const auto row = std::span(logits).subspan((prompt.size() - 1 + i) * vocab, vocab);
    double squares = 0;
    for (const float value : row) squares += double{value} * value;
    const double best = double{*std::ranges::max_element(row)};
    all.push_back((best - double{row[static_cast<std::size_t>(answer[i])]}) /
                  std::sqrt(squares / static_cast<double>(vocab)));
  }
  return all;
}

// Every token is as good as the best one: steps of other sizes round at other places, so that
// equally good ones may take turns. Where the processor computes some experts, which rounds more
// than the device, it is a judge too, and where rounding sends a token to other experts for one of
// the two, an answer may lie anywhere between them.
inline void expect_right(const std::vector<std::int32_t>& answer,
                         const std::vector<std::int32_t>& prompt, LoadedModel& judge,
                         LoadedModel* processor = nullptr) {
  constexpr double kRounding = 0.2;
  const std::vector<double> by_device = shortfalls(answer, prompt, judge);
  std::vector<double> by_processor = by_device;
  if (processor != nullptr && std::ranges::max(by_device) > kRounding)
    by_processor = shortfalls(answer, prompt, *processor);
  for (std::size_t i = 0; i < answer.size(); ++i) {
    const double apart = std::abs(by_device[i] - by_processor[i]);
    EXPECT_LE(std::min(by_device[i], by_processor[i]), std::max(kRounding, apart))
        << "token " << i << " after a prompt of " << prompt.size();
  }
}

}  // namespace krasis::test
