// The JSON of answers: OpenAI's chat.completion, chat.completion.chunk and text_completion objects.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "server/generation.h"
#include "server/prepare.h"

namespace krasis::server {

// What all objects of one answer share.
struct AnswerHead {
  Endpoint endpoint = Endpoint::Chat;
  std::string id;
  std::int64_t created = 0;  // seconds since the epoch
  std::string model;
  bool logprobs = false;
  bool stream_usage = false;
};

AnswerHead make_head(Endpoint endpoint, const Prepared& prepared, const std::string& model);

// Text that was sent before, which text offsets of /v1/completions count from.
struct ChoiceState {
  std::size_t text_bytes = 0;
  bool finished = false;
};

// Events of a stream, each "data: ...\n\n".
std::string role_event(const AnswerHead& head, std::size_t index);
std::string piece_events(const AnswerHead& head, std::size_t index, const AnswerPiece& piece,
                         const text::Tokenizer& tokenizer, ChoiceState& state);
std::string usage_event(const AnswerHead& head, std::int64_t prompt_tokens,
                        std::int64_t completion_tokens);
std::string error_event(const std::string& message);

// The whole answer, of each choice everything it said.
std::string whole_answer(const AnswerHead& head, const std::vector<AnswerPiece>& choices,
                         const Prepared& prepared, const text::Tokenizer& tokenizer);

std::int64_t completion_tokens(const Prepared& prepared);

}  // namespace krasis::server
