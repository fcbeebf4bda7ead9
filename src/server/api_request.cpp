#include "server/api_request.h"

#include <charconv>
#include <fmt/core.h>
#include <limits>

#include "engine/sampler.h"
#include "server/chat_messages.h"

namespace krasis::server {
namespace {

constexpr std::size_t kMaxStops = 64;
constexpr std::size_t kMaxStopBytes = 4096;
constexpr std::int64_t kDefaultCompletionTokens = 16;  // as OpenAI documents
constexpr double kMostTokens = 1e9;
constexpr double kMostInteger = 9007199254740992;  // 2^53: exact in a double

void set(float& option, std::optional<double> value) {
  if (value) option = static_cast<float>(*value);
}

std::vector<std::string> read_stops(const Json& body) {
  const Json* stop = find(body, "stop");
  if (stop == nullptr) return {};
  std::vector<std::string> stops;
  const auto add = [&](const Json& value) {
    if (!value.is_string())
      refuse("stop is " + kind_of(value) + ", it must be a string or a list of strings");
    stops.push_back(value.get<std::string>());
    if (stops.back().size() > kMaxStopBytes) {
      refuse(fmt::format("a stop string has {} bytes, at most {} are possible", stops.back().size(),
                         kMaxStopBytes));
    }
  };
  if (!stop->is_array()) {
    add(*stop);
    return stops;
  }
  if (stop->size() > kMaxStops)
    refuse(fmt::format("stop has {} strings, at most {} are possible", stop->size(), kMaxStops));
  for (const Json& value : *stop) {
    if (value.is_array()) refuse("stop holds a list, it must be a string or a list of strings");
    add(value);
  }
  return stops;
}

std::vector<std::pair<std::int32_t, float>> read_logit_bias(const Json& body) {
  const Json* biases = find(body, "logit_bias");
  if (biases == nullptr) return {};
  if (!biases->is_object()) refuse("logit_bias is " + kind_of(*biases) + ", it must be an object");
  std::vector<std::pair<std::int32_t, float>> result;
  for (const auto& [key, value] : biases->items()) {
    std::int32_t id = 0;
    const auto [end, problem] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (problem != std::errc() || end != key.data() + key.size())
      refuse("logit_bias names \"" + key + "\", its keys must be token ids");
    if (!value.is_number()) refuse("logit_bias holds " + kind_of(value) + ", it must hold numbers");
    result.emplace_back(id, static_cast<float>(value.get<double>()));
  }
  return result;
}

void read_sampling(const Json& body, SamplingOptions& sampling) {
  set(sampling.temperature, number(body, "temperature", {0, 100}));
  set(sampling.top_p, number(body, "top_p", {0, 1}));
  set(sampling.min_p, number(body, "min_p", {0, 1}));
  set(sampling.presence_penalty, number(body, "presence_penalty", {-2, 2}));
  set(sampling.frequency_penalty, number(body, "frequency_penalty", {-2, 2}));
  set(sampling.repetition_penalty, number(body, "repetition_penalty", {0, 100}));
  // -1 means all to some clients, as 0 does here.
  if (const auto top_k = integer(body, "top_k", {-1, kMostTokens}))
    sampling.top_k = *top_k < 0 ? 0 : *top_k;
  if (const auto seed = integer(body, "seed", {-kMostInteger, kMostInteger}))
    sampling.seed = static_cast<std::uint64_t>(*seed);
  sampling.logit_bias = read_logit_bias(body);
}

void read_stream(const Json& body, GenerationOptions& options) {
  options.stream = boolean(body, "stream").value_or(false);
  const Json* stream_options = find(body, "stream_options");
  if (stream_options == nullptr) return;
  if (!stream_options->is_object())
    refuse("stream_options is " + kind_of(*stream_options) + ", it must be an object");
  if (!options.stream) refuse("stream_options is given, but stream is not true");
  options.stream_usage = boolean(*stream_options, "include_usage").value_or(false);
}

GenerationOptions read_options(const Json& body, const SamplingOptions& defaults) {
  GenerationOptions options;
  options.sampling = defaults;
  options.model = string(body, "model");
  options.stops = read_stops(body);
  options.choices = integer(body, "n", {1, kMaxChoices}).value_or(1);
  read_sampling(body, options.sampling);
  read_stream(body, options);
  // The ranges' open ends; logit_bias is checked against the vocabulary later.
  SamplingOptions without_bias = options.sampling;
  without_bias.logit_bias.clear();
  check(without_bias, 0);
  return options;
}

// What would change the answer and is not done must not be passed over.
void refuse_what_is_not_done(const Json& body) {
  for (const char* name : {"tools", "functions"}) {
    const Json* value = find(body, name);
    if (value != nullptr && !(value->is_array() && value->empty()))
      refuse(fmt::format("{} is not supported in this version", name));
  }
  for (const char* name : {"tool_choice", "function_call"}) {
    const Json* value = find(body, name);
    if (value != nullptr && *value != "none" && *value != "auto")
      refuse(fmt::format("{} is not supported in this version", name));
  }
  if (const Json* format = find(body, "response_format")) {
    if (!format->is_object())
      refuse("response_format is " + kind_of(*format) + ", it must be an object");
    const std::string type = string(*format, "type").value_or("");
    if (type != "text")
      refuse("response_format \"" + type + "\" is not supported in this version, only \"text\" is");
  }
  if (const Json* modalities = find(body, "modalities")) {
    if (*modalities != Json::array({"text"})) refuse("modalities: only [\"text\"] is supported");
  }
}

int read_top_logprobs(const Json& body, const char* name) {
  return static_cast<int>(integer(body, name, {0, kMaxTopLogprobs}).value_or(0));
}

TokenIds read_ids(const Json& list) {
  TokenIds ids;
  ids.reserve(list.size());
  for (const Json& value : list) {
    if (!value.is_number_integer()) refuse("prompt holds " + kind_of(value) + " among token ids");
    const auto id = value.get<std::int64_t>();
    if (id < 0 || id > std::numeric_limits<std::int32_t>::max())
      refuse(fmt::format("prompt holds {}, which is no token id", id));
    ids.push_back(static_cast<std::int32_t>(id));
  }
  return ids;
}

std::vector<std::variant<std::string, TokenIds>> read_prompts(const Json& body) {
  const Json* prompt = find(body, "prompt");
  if (prompt == nullptr) refuse("prompt is missing");
  if (prompt->is_string()) return {prompt->get<std::string>()};
  if (!prompt->is_array()) {
    refuse("prompt is " + kind_of(*prompt) +
           ", it must be a string, a list of strings, a list of token ids or a list of those");
  }
  if (prompt->empty()) refuse("prompt is an empty list");
  if (prompt->front().is_number()) return {read_ids(*prompt)};
  if (static_cast<std::int64_t>(prompt->size()) > kMaxChoices) {
    refuse(fmt::format("prompt holds {} prompts, at most {} are possible", prompt->size(),
                       kMaxChoices));
  }
  std::vector<std::variant<std::string, TokenIds>> prompts;
  for (const Json& value : *prompt) {
    if (value.is_string()) {
      prompts.emplace_back(value.get<std::string>());
    } else if (value.is_array()) {
      prompts.emplace_back(read_ids(value));
    } else {
      refuse("prompt holds " + kind_of(value) + ", it must hold strings or lists of token ids");
    }
  }
  return prompts;
}

}  // namespace

ChatRequest parse_chat_request(std::string_view text, const SamplingOptions& defaults) {
  const Json body = parse_body(text);
  refuse_what_is_not_done(body);
  ChatRequest request{.options = read_options(body, defaults), .messages = read_messages(body)};
  const auto at_most = integer(body, "max_tokens", {1, kMostTokens});
  request.options.max_tokens =
      integer(body, "max_completion_tokens", {1, kMostTokens}).value_or(at_most.value_or(0));
  SamplingOptions& sampling = request.options.sampling;
  sampling.logprobs = boolean(body, "logprobs").value_or(false);
  sampling.top_logprobs = read_top_logprobs(body, "top_logprobs");
  if (sampling.top_logprobs > 0 && !sampling.logprobs)
    refuse("top_logprobs is given, but logprobs is not true");
  if (const Json* kwargs = find(body, "chat_template_kwargs")) {
    if (!kwargs->is_object())
      refuse("chat_template_kwargs is " + kind_of(*kwargs) + ", it must be an object");
    request.template_kwargs = *kwargs;
  }
  return request;
}

CompletionRequest parse_completion_request(std::string_view text, const SamplingOptions& defaults) {
  const Json body = parse_body(text);
  refuse_what_is_not_done(body);
  CompletionRequest request{.options = read_options(body, defaults), .prompts = read_prompts(body)};
  request.options.max_tokens =
      integer(body, "max_tokens", {1, kMostTokens}).value_or(kDefaultCompletionTokens);
  SamplingOptions& sampling = request.options.sampling;
  sampling.logprobs = find(body, "logprobs") != nullptr;
  sampling.top_logprobs = read_top_logprobs(body, "logprobs");
  request.echo = boolean(body, "echo").value_or(false);
  if (request.echo && sampling.logprobs)
    refuse("echo together with logprobs is not supported in this version");
  if (!string(body, "suffix").value_or("").empty())
    refuse("suffix is not supported in this version");
  const auto best_of = integer(body, "best_of", {1, kMaxChoices});
  if (best_of && *best_of != request.options.choices)
    refuse("best_of is not supported in this version unless it equals n");
  const auto choices = static_cast<std::int64_t>(request.prompts.size()) * request.options.choices;
  if (choices > kMaxChoices) {
    refuse(fmt::format("{} prompts times n {} are {} answers, at most {} are possible",
                       request.prompts.size(), request.options.choices, choices, kMaxChoices));
  }
  return request;
}

}  // namespace krasis::server
