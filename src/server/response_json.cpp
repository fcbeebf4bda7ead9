#include "server/response_json.h"

#include <chrono>
#include <fmt/core.h>
#include <random>

#include "server/json_fields.h"
#include "text/utf8.h"

namespace krasis::server {
namespace {

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string event(const Json& json) {
  return "data: " + dump(json) + "\n\n";
}

Json finish_reason(FinishReason reason) {
  switch (reason) {
    case FinishReason::End:
      return "stop";
    case FinishReason::Length:
      return "length";
    default:
      return nullptr;
  }
}

Json usage_json(std::int64_t prompt_tokens, std::int64_t completion_tokens) {
  return {{"prompt_tokens", prompt_tokens},
          {"completion_tokens", completion_tokens},
          {"total_tokens", prompt_tokens + completion_tokens}};
}

Json head_json(const AnswerHead& head, bool stream) {
  const char* object = "text_completion";
  if (head.endpoint == Endpoint::Chat)
    object = stream ? "chat.completion.chunk" : "chat.completion";
  return {{"id", head.id}, {"object", object}, {"created", head.created}, {"model", head.model}};
}

std::string token_text(const text::Tokenizer& tokenizer, std::int32_t id) {
  std::string buffer;
  return std::string(utf8::make_valid(tokenizer.token_bytes(id), buffer));
}

Json chat_token(const text::Tokenizer& tokenizer, const TokenLogprob& token) {
  Json bytes = Json::array();
  for (const char byte : tokenizer.token_bytes(token.id))
    bytes.push_back(static_cast<unsigned char>(byte));
  return {{"token", token_text(tokenizer, token.id)},
          {"logprob", token.logprob},
          {"bytes", std::move(bytes)}};
}

Json chat_logprobs(const text::Tokenizer& tokenizer, const std::vector<TokenEvent>& events) {
  Json content = Json::array();
  for (const TokenEvent& one : events) {
    Json token = chat_token(tokenizer, one.chosen);
    token["top_logprobs"] = Json::array();
    for (const TokenLogprob& top : one.top_logprobs)
      token["top_logprobs"].push_back(chat_token(tokenizer, top));
    content.push_back(std::move(token));
  }
  return {{"content", std::move(content)}};
}

Json completion_logprobs(const text::Tokenizer& tokenizer, const std::vector<TokenEvent>& events,
                         std::size_t& offset) {
  Json result = {{"tokens", Json::array()},
                 {"token_logprobs", Json::array()},
                 {"top_logprobs", Json::array()},
                 {"text_offset", Json::array()}};
  for (const TokenEvent& one : events) {
    Json top = Json::object();
    for (const TokenLogprob& token : one.top_logprobs)
      top[token_text(tokenizer, token.id)] = token.logprob;
    result["tokens"].push_back(token_text(tokenizer, one.chosen.id));
    result["token_logprobs"].push_back(one.chosen.logprob);
    result["top_logprobs"].push_back(std::move(top));
    result["text_offset"].push_back(offset);
    offset += tokenizer.token_bytes(one.chosen.id).size();
  }
  return result;
}

Json logprobs_json(const AnswerHead& head, const AnswerPiece& piece,
                   const text::Tokenizer& tokenizer, std::size_t& offset) {
  if (!head.logprobs) return nullptr;
  return head.endpoint == Endpoint::Chat ? chat_logprobs(tokenizer, piece.logprobs)
                                         : completion_logprobs(tokenizer, piece.logprobs, offset);
}

// One choice of one chunk.
std::string chunk(const AnswerHead& head, std::size_t index, Json delta, Json logprobs,
                  Json finish) {
  Json choice = {{"index", index}};
  choice[head.endpoint == Endpoint::Chat ? "delta" : "text"] = std::move(delta);
  choice["logprobs"] = std::move(logprobs);
  choice["finish_reason"] = std::move(finish);
  Json json = head_json(head, true);
  json["choices"] = Json::array({std::move(choice)});
  if (head.stream_usage) json["usage"] = nullptr;
  return event(json);
}

}  // namespace

AnswerHead make_head(Endpoint endpoint, const Prepared& prepared, const std::string& model) {
  std::random_device random;
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return {
      .endpoint = endpoint,
      .id = fmt::format("{}-{:08x}{:08x}{:08x}", endpoint == Endpoint::Chat ? "chatcmpl" : "cmpl",
                        random(), random(), random()),
      .created = std::chrono::duration_cast<std::chrono::seconds>(now).count(),
      .model = model,
      .logprobs = prepared.options.sampling.logprobs,
      .stream_usage = prepared.options.stream_usage};
}

std::string role_event(const AnswerHead& head, std::size_t index) {
  return chunk(head, index, {{"role", "assistant"}, {"content", ""}}, nullptr, nullptr);
}

std::string piece_events(const AnswerHead& head, std::size_t index, const AnswerPiece& piece,
                         const text::Tokenizer& tokenizer, ChoiceState& state) {
  std::string events;
  Json logprobs = logprobs_json(head, piece, tokenizer, state.text_bytes);
  const bool chat = head.endpoint == Endpoint::Chat;
  if (!piece.reasoning.empty())
    events += chunk(head, index, {{"reasoning_content", piece.reasoning}}, nullptr, nullptr);
  if (!piece.text.empty() || !piece.logprobs.empty()) {
    events += chunk(head, index, chat ? Json{{"content", piece.text}} : Json(piece.text),
                    std::move(logprobs), nullptr);
  }
  if (piece.finish == FinishReason::End || piece.finish == FinishReason::Length) {
    events +=
        chunk(head, index, chat ? Json::object() : Json(""), nullptr, finish_reason(piece.finish));
  }
  state.finished = state.finished || piece.finish != FinishReason::None;
  return events;
}

std::string usage_event(const AnswerHead& head, std::int64_t prompt_tokens,
                        std::int64_t completion_tokens) {
  Json json = head_json(head, true);
  json["choices"] = Json::array();
  json["usage"] = usage_json(prompt_tokens, completion_tokens);
  return event(json);
}

std::string error_event(const std::string& message) {
  return "data: " + error_body({500, message, ""}) + "\n\n";
}

std::string whole_answer(const AnswerHead& head, const std::vector<AnswerPiece>& choices,
                         const Prepared& prepared, const text::Tokenizer& tokenizer) {
  Json json = head_json(head, false);
  json["choices"] = Json::array();
  for (std::size_t index = 0; index < choices.size(); ++index) {
    const AnswerPiece& piece = choices[index];
    std::size_t offset = 0;
    Json choice = {{"index", index}};
    if (head.endpoint == Endpoint::Chat) {
      choice["message"] = {{"role", "assistant"}, {"content", piece.text}};
      if (!piece.reasoning.empty()) choice["message"]["reasoning_content"] = piece.reasoning;
    } else {
      choice["text"] = prepared.echo[index] + piece.text;
    }
    choice["logprobs"] = logprobs_json(head, piece, tokenizer, offset);
    choice["finish_reason"] = finish_reason(piece.finish);
    json["choices"].push_back(std::move(choice));
  }
  json["usage"] = usage_json(prepared.prompt_tokens, completion_tokens(prepared));
  return dump(json);
}

std::int64_t completion_tokens(const Prepared& prepared) {
  std::int64_t tokens = 0;
  for (const auto& generation : prepared.choices.all())
    tokens += generation->usage().completion_tokens;
  return tokens;
}

}  // namespace krasis::server
