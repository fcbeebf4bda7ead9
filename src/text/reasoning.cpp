#include "text/reasoning.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace krasis::text {
namespace {

constexpr std::string_view kSpaces = " \t\r\n";

// How many bytes at the end of `text` may be the start of `tag`.
std::size_t possible_start(std::string_view text, std::string_view tag) {
  std::size_t length = std::min(text.size(), tag.size() - 1);
  while (length > 0 && text.substr(text.size() - length) != tag.substr(0, length)) --length;
  return length;
}

std::size_t leading_spaces(std::string_view text) {
  return std::min(text.find_first_not_of(kSpaces), text.size());
}

}  // namespace

ReasoningSplitter::ReasoningSplitter(ReasoningOptions options)
    : options_(std::move(options)),
      state_(options_.starts_inside ? State::Reasoning : State::Start) {
  ensure(!options_.open.empty() && !options_.close.empty(), "a reasoning tag is empty");
}

// Removes the opening tag from the start of held_. False while more text could still make it one.
bool ReasoningSplitter::take_open() {
  const std::string_view rest = std::string_view(held_).substr(leading_spaces(held_));
  if (rest.starts_with(options_.open)) {
    held_ = rest.substr(options_.open.size());
    state_ = State::Reasoning;
    maybe_open_ = false;
    return true;
  }
  if (options_.open.starts_with(rest)) return false;
  if (state_ == State::Start) state_ = State::Answer;
  maybe_open_ = false;
  return true;
}

void ReasoningSplitter::emit_reasoning(std::string_view text, ReasoningPiece& out) {
  if (!options_.trim) {
    out.reasoning.append(text);
    return;
  }
  if (!any_reasoning_) text.remove_prefix(leading_spaces(text));
  const std::size_t last = text.find_last_not_of(kSpaces);
  if (last == std::string_view::npos) {
    if (any_reasoning_) spaces_.append(text);
    return;
  }
  any_reasoning_ = true;
  out.reasoning.append(std::exchange(spaces_, {})).append(text.substr(0, last + 1));
  spaces_.assign(text.substr(last + 1));
}

void ReasoningSplitter::take_reasoning(ReasoningPiece& out) {
  const std::size_t end = held_.find(options_.close);
  if (end == std::string::npos) {
    const std::size_t keep = possible_start(held_, options_.close);
    emit_reasoning(std::string_view(held_).substr(0, held_.size() - keep), out);
    held_.erase(0, held_.size() - keep);
    return;
  }
  emit_reasoning(std::string_view(held_).substr(0, end), out);
  spaces_.clear();
  held_.erase(0, end + options_.close.size());
  state_ = State::Answer;
  trim_answer_ = options_.trim;
}

void ReasoningSplitter::take_answer(ReasoningPiece& out) {
  std::string_view text = held_;
  if (trim_answer_) text.remove_prefix(leading_spaces(text));
  if (!text.empty()) trim_answer_ = false;
  out.answer.append(text);
  held_.clear();
}

ReasoningPiece ReasoningSplitter::push(std::string_view piece) {
  ReasoningPiece out;
  held_.append(piece);
  if (maybe_open_ && !take_open()) return out;
  if (state_ == State::Reasoning) take_reasoning(out);
  if (state_ == State::Answer) take_answer(out);
  return out;
}

ReasoningPiece ReasoningSplitter::finish() {
  ReasoningPiece out;
  if (state_ == State::Reasoning) {
    emit_reasoning(held_, out);
    if (!options_.trim) out.reasoning.append(spaces_);
  } else {
    out.answer = held_;
  }
  held_.clear();
  spaces_.clear();
  return out;
}

}  // namespace krasis::text
