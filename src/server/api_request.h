// The bodies of POST /v1/chat/completions and /v1/completions, checked. Field names and meanings
// are OpenAI's (https://platform.openai.com/docs/api-reference), with top_k, min_p,
// repetition_penalty and chat_template_kwargs as other open servers have them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "engine/request.h"
#include "server/json_fields.h"

namespace krasis::server {

constexpr std::int64_t kMaxChoices = 64;  // of one request: prompts times n

struct GenerationOptions {
  std::optional<std::string> model;
  SamplingOptions sampling;
  std::int64_t max_tokens = 0;  // 0: as the context allows
  std::vector<std::string> stops;
  std::int64_t choices = 1;  // "n"
  bool stream = false;
  bool stream_usage = false;
};

struct ChatRequest {
  GenerationOptions options;
  Json messages;
  Json template_kwargs = Json::object();
};

using TokenIds = std::vector<std::int32_t>;

struct CompletionRequest {
  GenerationOptions options;
  std::vector<std::variant<std::string, TokenIds>> prompts;
  bool echo = false;
};

// `defaults` holds for what the body leaves out. Throw Error(InvalidArgument) for anything that is
// malformed, out of range or asks for what this version does not do.
ChatRequest parse_chat_request(std::string_view body, const SamplingOptions& defaults);
CompletionRequest parse_completion_request(std::string_view body, const SamplingOptions& defaults);

}  // namespace krasis::server
