#include "engine/scheduler.h"

#include <algorithm>
#include <fmt/core.h>

#include "base/error.h"

namespace krasis {

Scheduler::Scheduler(const EngineLimits& limits)
    : limits_(limits),
      step_limits_{.prompt_tokens = limits.prompt_chunk, .sequences = limits.max_sequences},
      pages_(limits.pages),
      slots_(limits.max_sequences) {
  if (limits.pages * limits.page_tokens < limits.context_length) {
    throw Error(ErrorCode::InvalidArgument,
                fmt::format("engine: {} pages of {} tokens do not hold a context of {} tokens",
                            limits.pages, limits.page_tokens, limits.context_length));
  }
}

std::int64_t Scheduler::pages_for(std::int64_t tokens) const {
  return (tokens + limits_.page_tokens - 1) / limits_.page_tokens;
}

void Scheduler::enqueue(std::unique_ptr<Sequence> sequence) {
  waiting_.push_back(std::move(sequence));
}

void Scheduler::admit() {
  while (!waiting_.empty() && running() < step_limits_.sequences && slots_.free() > 0) {
    Sequence& next = *waiting_.front();
    const std::int64_t needed = pages_for(static_cast<std::int64_t>(next.tokens.size()));
    // A page for each that runs stays free, so that the newcomer is not sent away at once.
    if (needed + running() > pages_.free()) return;
    pages_.try_take(needed, next.pages);
    next.slot = *slots_.try_take();
    if (next.started == Sequence::Clock::time_point{}) next.started = Sequence::Clock::now();
    running_.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
  }
}

void Scheduler::release(Sequence& sequence) {
  pages_.give_back(sequence.pages);
  sequence.pages.clear();
  if (sequence.slot >= 0) slots_.give_back(sequence.slot);
  sequence.slot = -1;
  sequence.cached = 0;
}

void Scheduler::preempt_youngest() {
  release(*running_.back());
  waiting_.push_front(std::move(running_.back()));
  running_.pop_back();
}

// Gives a generating sequence the page its next token goes to; false if it had to leave itself.
bool Scheduler::grow(Sequence& sequence) {
  while (static_cast<std::int64_t>(sequence.pages.size()) < pages_for(sequence.cached + 1)) {
    if (pages_.try_take(1, sequence.pages)) continue;
    const bool leaves = running_.back().get() == &sequence;
    preempt_youngest();
    if (leaves) return false;
  }
  return true;
}

void Scheduler::add_segment(Sequence& sequence, std::int64_t rows) {
  Batch& batch = step_.batch;
  const auto first = sequence.tokens.begin() + sequence.cached;
  batch.segments.push_back({.first_row = batch.tokens(),
                            .rows = rows,
                            .past = sequence.cached,
                            .slot = sequence.slot,
                            .pages = sequence.pages});
  batch.ids.insert(batch.ids.end(), first, first + rows);
  for (std::int64_t row = 0; row < rows; ++row)
    batch.positions.push_back(static_cast<std::int32_t>(sequence.cached + row));
  step_.sequences.push_back(&sequence);
  if (rows == sequence.pending()) {
    batch.logit_rows.push_back(static_cast<std::int32_t>(batch.tokens() - 1));
    step_.sampled.push_back(&sequence);
  }
}

const Step& Scheduler::plan() {
  step_ = {};
  // Those that run come first; only then is there a point in starting others.
  for (std::size_t i = 0; i < running_.size(); ++i)
    if (running_[i]->pending() == 1 && !grow(*running_[i])) break;
  admit();
  std::int64_t prompt_left = step_limits_.prompt_tokens;
  for (const auto& sequence : running_) {
    const std::int64_t pending = sequence->pending();
    const std::int64_t rows = pending == 1 ? 1 : std::min(pending, prompt_left);
    if (rows == 0) continue;
    if (pending > 1) prompt_left -= rows;
    add_segment(*sequence, rows);
  }
  return step_;
}

void Scheduler::commit() {
  for (std::size_t i = 0; i < step_.sequences.size(); ++i)
    step_.sequences[i]->cached += step_.batch.segments[i].rows;
}

bool Scheduler::prompt_is_half_read() const {
  return std::ranges::any_of(running_, [](const auto& sequence) {
    return sequence->cached > 0 && sequence->pending() > 1;
  });
}

void Scheduler::restart() {
  while (!running_.empty()) preempt_youngest();
  step_ = {};
}

std::unique_ptr<Sequence> Scheduler::remove(std::uint64_t id) {
  const auto is_it = [id](const auto& sequence) { return sequence->id == id; };
  std::unique_ptr<Sequence> found;
  if (const auto at = std::ranges::find_if(running_, is_it); at != running_.end()) {
    found = std::move(*at);
    running_.erase(at);
  } else if (const auto place = std::ranges::find_if(waiting_, is_it); place != waiting_.end()) {
    found = std::move(*place);
    waiting_.erase(place);
  }
  if (found) release(*found);
  return found;
}

std::unique_ptr<Sequence> Scheduler::remove_any() {
  if (!running_.empty()) return remove(running_.front()->id);
  if (!waiting_.empty()) return remove(waiting_.front()->id);
  return nullptr;
}

}  // namespace krasis
