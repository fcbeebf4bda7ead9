// A model for tests of the engine: what it answers depends on all tokens of the sequence, read back
// through the page table, and on the recurrent state in the slot. A page or slot given to two
// sequences, a token computed twice or left out changes the answer.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <limits>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "support/rows_runner.h"

namespace krasis::test {

inline std::uint64_t mix(std::uint64_t value) {
  value += 0x9e3779b97f4a7c15U;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9U;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebU;
  return value ^ (value >> 31);
}

// Logits in [-4, 4) from everything a sequence holds.
inline void fake_logits(std::uint64_t history, std::span<float> logits) {
  for (std::size_t id = 0; id < logits.size(); ++id)
    logits[id] = static_cast<float>(mix(history + id) >> 40) * (8.0F / (1 << 24)) - 4;
}

class FakeRunner final : public RowsRunner {
 public:
  FakeRunner(std::int64_t vocab, const EngineLimits& limits)
      : vocab_(vocab),
        page_tokens_(limits.page_tokens),
        cache_(static_cast<std::size_t>(limits.pages * limits.page_tokens)),
        state_(static_cast<std::size_t>(limits.max_sequences)) {}

  std::int64_t vocab() const override { return vocab_; }

  void forward(const Batch& batch, MutableRows logits) override {
    if (before_step) before_step(batch);
    std::int64_t logit_row = 0;
    for (const Segment& segment : batch.segments) {
      auto& state = state_.at(static_cast<std::size_t>(segment.slot));
      if (segment.past == 0) state = 0;
      for (std::int64_t row = 0; row < segment.rows; ++row) {
        const auto index = static_cast<std::size_t>(segment.first_row + row);
        if (batch.positions.at(index) != segment.past + row)
          throw std::runtime_error("positions are wrong");
        at(segment, segment.past + row) = batch.ids.at(index);
        state = mix(state ^ static_cast<std::uint64_t>(batch.ids[index]));
        const auto wanted = static_cast<std::size_t>(logit_row);
        if (wanted < batch.logit_rows.size() &&
            batch.logit_rows[wanted] == static_cast<std::int32_t>(index)) {
          answer(segment, segment.past + row + 1, state, logits.row(logit_row));
          ++logit_row;
        }
      }
    }
    if (logit_row != logits.rows) throw std::runtime_error("rows of logits were not answered");
    if (after_step) after_step(batch);
  }
  void step_down(std::int64_t /*tokens*/) override { ++steps_down; }
  void step_up() override { ++steps_up; }

  void forward_best(const Batch& batch, const BestLogits& best) override {
    RowsRunner::forward_best(batch, best);
    ++best_steps;
  }

  std::function<void(const Batch&)> before_step, after_step;  // may throw
  std::atomic<int> steps_down = 0, steps_up = 0;              // how often it was told to
  std::atomic<int> best_steps = 0;  // that asked for the highest logits only

 private:
  std::int32_t& at(const Segment& segment, std::int64_t token) {
    const auto page = static_cast<std::size_t>(token / page_tokens_);
    if (page >= segment.pages.size()) throw std::runtime_error("a token has no page");
    return cache_.at(
        static_cast<std::size_t>(segment.pages[page] * page_tokens_ + token % page_tokens_));
  }

  void answer(const Segment& segment, std::int64_t tokens, std::uint64_t state, float* logits) {
    std::uint64_t history = 0;
    for (std::int64_t token = 0; token < tokens; ++token)
      history = mix(history ^ static_cast<std::uint64_t>(at(segment, token)));
    if (history != state) throw std::runtime_error("pages and slot hold different tokens");
    fake_logits(history, {logits, static_cast<std::size_t>(vocab_)});
  }

  std::int64_t vocab_;
  std::int64_t page_tokens_;
  std::vector<std::int32_t> cache_;
  std::vector<std::uint64_t> state_;
};

// Collects what a request hears; wait() returns when it is over.
class Listener {
 public:
  EventSink sink() {
    return [this](const TokenEvent& event) { hear(event); };
  }

  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return last_.finish != FinishReason::None; });
  }
  void wait_for_tokens(std::size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock,
                  [&] { return tokens_.size() >= count || last_.finish != FinishReason::None; });
  }

  std::vector<std::int32_t> tokens() const {
    const std::lock_guard lock(mutex_);
    return tokens_;
  }
  std::vector<TokenEvent> events() const {
    const std::lock_guard lock(mutex_);
    return events_;
  }
  TokenEvent last() const {
    const std::lock_guard lock(mutex_);
    return last_;
  }
  bool heard_after_the_end() const {
    const std::lock_guard lock(mutex_);
    return late_;
  }

 private:
  void hear(const TokenEvent& event) {
    const std::lock_guard lock(mutex_);
    late_ = late_ || last_.finish != FinishReason::None;
    if (event.token) tokens_.push_back(*event.token);
    events_.push_back(event);
    last_ = event;
    changed_.notify_all();  // under the lock: who waits may be gone right after it
  }

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::int32_t> tokens_;
  std::vector<TokenEvent> events_;
  TokenEvent last_;
  bool late_ = false;
};

constexpr std::int64_t kFakeVocab = 50;

inline EngineLimits small_limits() {
  return {.context_length = 64,
          .max_sequences = 4,
          .prompt_chunk = 8,
          .page_tokens = 4,
          .pages = 4 * 16};
}

inline std::unique_ptr<FakeRunner> fake_runner(const EngineLimits& limits) {
  return std::make_unique<FakeRunner>(kFakeVocab, limits);
}

inline Request greedy_request(std::vector<std::int32_t> prompt, std::int64_t max_tokens) {
  Request request;
  request.prompt = std::move(prompt);
  request.max_tokens = max_tokens;
  request.sampling.temperature = 0;
  return request;
}

}  // namespace krasis::test
