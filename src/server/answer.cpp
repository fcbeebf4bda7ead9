#include "server/answer.h"

#include <utility>

namespace krasis::server {

Answer::Answer(const text::Tokenizer& tokenizer, const AnswerOptions& options)
    : detokenizer_(tokenizer, true),
      stops_(options.stops),
      splitter_({.starts_inside = options.starts_inside}),
      reasoning_(options.reasoning),
      logprobs_(options.logprobs) {}

void Answer::split(std::string_view text, AnswerPiece& piece) {
  safe_bytes_ += text.size();
  if (!reasoning_) {
    piece.text += text;
    return;
  }
  auto parts = splitter_.push(text);
  piece.text += parts.answer;
  piece.reasoning += parts.reasoning;
}

void Answer::release_logprobs(bool all, AnswerPiece& piece) {
  while (!waiting_.empty() && (all || waiting_.front().begin < safe_bytes_)) {
    piece.logprobs.push_back(std::move(waiting_.front().event));
    waiting_.pop_front();
  }
}

AnswerPiece Answer::push(const TokenEvent& event) {
  AnswerPiece piece;
  if (finished_) return piece;
  if (event.token) ++tokens_;
  const bool is_text = event.token && event.finish != FinishReason::End;
  if (is_text) {
    if (logprobs_) waiting_.push_back({event, decoded_bytes_});
    const std::string decoded = detokenizer_.push(*event.token);
    decoded_bytes_ += decoded.size();
    split(stops_.push(decoded), piece);
  }
  if (stops_.stopped()) {
    finish(piece, FinishReason::End);
  } else if (event.finish != FinishReason::None) {
    finish(piece, event.finish);
  } else {
    release_logprobs(false, piece);
  }
  piece.error = event.error;
  return piece;
}

void Answer::finish(AnswerPiece& piece, FinishReason reason) {
  finished_ = true;
  if (!stops_.stopped()) split(stops_.push(detokenizer_.finish()), piece);
  // The detokenizer's rest may complete a stop string as well.
  if (!stops_.stopped()) split(stops_.finish(), piece);
  if (reasoning_) {
    auto rest = splitter_.finish();
    piece.text += rest.answer;
    piece.reasoning += rest.reasoning;
  }
  release_logprobs(!stops_.stopped(), piece);
  piece.finish = stops_.stopped() ? FinishReason::End : reason;
}

}  // namespace krasis::server
