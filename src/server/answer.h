// From a choice's token events to the text that is sent: detokenizer, stop strings, split of the
// reasoning, log-probabilities.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "engine/request.h"
#include "text/detokenizer.h"
#include "text/reasoning.h"
#include "text/stop_matcher.h"

namespace krasis::server {

struct AnswerOptions {
  std::vector<std::string> stops{};
  bool reasoning = false;      // split off what stands in <think> ... </think>
  bool starts_inside = false;  // the prompt has opened it
  bool logprobs = false;
};

// What has become certain since the last piece.
struct AnswerPiece {
  std::string text;
  std::string reasoning;
  std::vector<TokenEvent> logprobs;  // of tokens whose text is out, if asked for
  FinishReason finish = FinishReason::None;
  std::string error;  // for Failed

  bool empty() const {
    return text.empty() && reasoning.empty() && logprobs.empty() && finish == FinishReason::None;
  }
};

class Answer {
 public:
  // `tokenizer` outlives the answer.
  Answer(const text::Tokenizer& tokenizer, const AnswerOptions& options);

  // A stop string gives finish End before the engine knows; later events give nothing.
  AnswerPiece push(const TokenEvent& event);

  bool finished() const { return finished_; }
  std::int64_t tokens() const { return tokens_; }  // generated, the end token included

 private:
  struct Waiting {
    TokenEvent event;
    std::size_t begin;  // where its text begins in the answer
  };

  void split(std::string_view text, AnswerPiece& piece);
  void finish(AnswerPiece& piece, FinishReason reason);
  void release_logprobs(bool all, AnswerPiece& piece);

  text::Detokenizer detokenizer_;
  text::StopMatcher stops_;
  text::ReasoningSplitter splitter_;
  bool reasoning_;
  bool logprobs_;
  bool finished_ = false;
  std::int64_t tokens_ = 0;
  std::size_t decoded_bytes_ = 0;  // by the detokenizer
  std::size_t safe_bytes_ = 0;     // of them, past the stop matcher
  std::deque<Waiting> waiting_;    // log-probabilities of tokens whose text is not out
};

}  // namespace krasis::server
