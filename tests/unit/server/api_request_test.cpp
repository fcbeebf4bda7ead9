#include "server/api_request.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace krasis::server {
namespace {

constexpr const char* kMessages = R"("messages": [{"role": "user", "content": "hi"}])";

ChatRequest chat(const std::string& fields) {
  return parse_chat_request(
      "{" + std::string(kMessages) + (fields.empty() ? "" : ", ") + fields + "}", {});
}

std::string refusal_of_body(const std::string& body) {
  try {
    parse_chat_request(body, {});
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::InvalidArgument);
    return error.what();
  }
  return "";
}

std::string refusal(const std::string& fields) {
  return refusal_of_body("{" + std::string(kMessages) + ", " + fields + "}");
}

std::string refusal_of_messages(const std::string& messages) {
  return refusal_of_body("{\"messages\": " + messages + "}");
}

CompletionRequest completion(const std::string& fields) {
  return parse_completion_request("{" + fields + "}", {});
}

std::string completion_refusal(const std::string& fields) {
  try {
    completion(fields);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(ApiRequest, ReadsEveryField) {
  const ChatRequest request = chat(R"("model": "m", "temperature": 0.5, "top_p": 0.9, "top_k": 40,
      "min_p": 0.1, "presence_penalty": 1, "frequency_penalty": -1, "repetition_penalty": 1.1,
      "seed": -3, "n": 2, "stop": ["a", "b"], "stream": true,
      "stream_options": {"include_usage": true}, "max_tokens": 7, "logit_bias": {"5": -100},
      "logprobs": true, "top_logprobs": 3, "chat_template_kwargs": {"enable_thinking": false})");
  const SamplingOptions& sampling = request.options.sampling;
  EXPECT_EQ(request.options.model, "m");
  EXPECT_FLOAT_EQ(sampling.temperature, 0.5F);
  EXPECT_FLOAT_EQ(sampling.top_p, 0.9F);
  EXPECT_EQ(sampling.top_k, 40);
  EXPECT_FLOAT_EQ(sampling.min_p, 0.1F);
  EXPECT_FLOAT_EQ(sampling.presence_penalty, 1);
  EXPECT_FLOAT_EQ(sampling.frequency_penalty, -1);
  EXPECT_FLOAT_EQ(sampling.repetition_penalty, 1.1F);
  EXPECT_EQ(sampling.seed, static_cast<std::uint64_t>(-3));
  EXPECT_EQ(request.options.choices, 2);
  EXPECT_EQ(request.options.stops, (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(request.options.stream);
  EXPECT_TRUE(request.options.stream_usage);
  EXPECT_EQ(request.options.max_tokens, 7);
  EXPECT_EQ(sampling.logit_bias, (std::vector<std::pair<std::int32_t, float>>{{5, -100.0F}}));
  EXPECT_TRUE(sampling.logprobs);
  EXPECT_EQ(sampling.top_logprobs, 3);
  EXPECT_EQ(request.template_kwargs, Json({{"enable_thinking", false}}));
}

TEST(ApiRequest, TakesNullAsAbsentAndIgnoresWhatItDoesNotKnow) {
  const ChatRequest request =
      chat(R"("temperature": null, "stop": null, "tools": null, "user": "me", "store": {"x": 1})");
  EXPECT_EQ(request.options.sampling.temperature, 1);
  EXPECT_TRUE(request.options.stops.empty());
  EXPECT_EQ(chat(R"("stop": "x")").options.stops, std::vector<std::string>{"x"});
  EXPECT_EQ(chat(R"("max_tokens": 5, "max_completion_tokens": 6)").options.max_tokens, 6);
  EXPECT_EQ(chat(R"("max_tokens": 5.0, "top_k": -1)").options.max_tokens, 5);
}

TEST(ApiRequest, DefaultsAreTheModels) {
  SamplingOptions defaults;
  defaults.temperature = 0.7F;
  defaults.top_k = 20;
  const ChatRequest request =
      parse_chat_request("{" + std::string(kMessages) + R"(, "top_k": 5})", defaults);
  EXPECT_FLOAT_EQ(request.options.sampling.temperature, 0.7F);
  EXPECT_EQ(request.options.sampling.top_k, 5);
}

TEST(ApiRequest, RefusesWrongTypesByName) {
  EXPECT_EQ(refusal(R"("temperature": "hot")"),
            "request: temperature is a string, it must be a number");
  EXPECT_EQ(refusal(R"("stream": 1)"), "request: stream is a number, it must be true or false");
  EXPECT_EQ(refusal(R"("max_tokens": 1.5)"),
            "request: max_tokens is 1.5, it must be a whole number");
  EXPECT_EQ(refusal(R"("stop": 3)"),
            "request: stop is a number, it must be a string or a list of strings");
  EXPECT_EQ(refusal(R"("logit_bias": {"x": 1})"),
            "request: logit_bias names \"x\", its keys must be token ids");
  EXPECT_EQ(refusal(R"("chat_template_kwargs": [])"),
            "request: chat_template_kwargs is a list, it must be an object");
  EXPECT_EQ(refusal(R"("model": 5)"), "request: model is a number, it must be a string");
}

TEST(ApiRequest, RefusesImpossibleValuesWithTheRange) {
  EXPECT_EQ(refusal(R"("temperature": -1)"), "request: temperature is -1, choose 0 to 100");
  EXPECT_EQ(refusal(R"("top_p": 0)"), "sampling: top_p is 0, choose above 0, up to 1");
  EXPECT_EQ(refusal(R"("n": 0)"), "request: n is 0, choose 1 to 64");
  EXPECT_EQ(refusal(R"("max_tokens": 0)"), "request: max_tokens is 0, choose 1 to 1000000000");
  EXPECT_EQ(refusal(R"("top_logprobs": 3)"),
            "request: top_logprobs is given, but logprobs is not true");
  EXPECT_EQ(refusal(R"("stream_options": {})"),
            "request: stream_options is given, but stream is not true");
}

TEST(ApiRequest, RefusesWhatThisVersionDoesNotDo) {
  EXPECT_EQ(refusal(R"("tools": [{"type": "function"}])"),
            "request: tools is not supported in this version");
  EXPECT_EQ(refusal(R"("tool_choice": "required")"),
            "request: tool_choice is not supported in this version");
  EXPECT_EQ(refusal(R"("response_format": {"type": "json_object"})"),
            "request: response_format \"json_object\" is not supported in this version, only "
            "\"text\" is");
  chat(R"("tools": [], "tool_choice": "none", "response_format": {"type": "text"})");
}

TEST(ApiRequest, RefusesBodiesThatAreNoObject) {
  EXPECT_EQ(refusal_of_body("[]"), "request: the body is a list, it must be an object");
  EXPECT_EQ(refusal_of_body(""), "request: the body is no JSON from byte 1 on");
  EXPECT_EQ(refusal_of_body(R"({"n": 1e999})"),
            "request: the body is no JSON: a number in it is too large");
  EXPECT_EQ(refusal_of_body("{\"a\": " + std::string(200, '[') + std::string(200, ']') + "}"),
            "request: the body has more than 100 levels of nesting");
  EXPECT_EQ(refusal_of_body("{}"), "request: messages is missing");
}

TEST(ApiRequest, ReadsMessagesOfAllRoles) {
  const ChatRequest request = parse_chat_request(R"({"messages": [
      {"role": "system", "content": "s"},
      {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
      {"role": "assistant", "content": null, "tool_calls": [
          {"type": "function", "function": {"name": "f", "arguments": "{\"x\": 1}"}}]},
      {"role": "tool", "content": "42", "tool_call_id": "1"},
      {"role": "assistant"}]})",
                                                 {});
  EXPECT_EQ(request.messages[1]["content"], "a\nb");
  EXPECT_TRUE(request.messages[2]["content"].is_null());
  EXPECT_EQ(request.messages[2]["tool_calls"][0]["function"]["arguments"], Json({{"x", 1}}));
  EXPECT_EQ(request.messages[3]["tool_call_id"], "1");
  EXPECT_EQ(request.messages[4]["content"], "");
}

TEST(ApiRequest, RefusesMessagesByPlace) {
  EXPECT_EQ(refusal_of_messages("[]"), "request: messages is an empty list");
  EXPECT_EQ(refusal_of_messages("5"), "request: messages is a number, it must be a list");
  EXPECT_EQ(refusal_of_messages("[1]"), "request: messages[0] is a number, it must be an object");
  EXPECT_EQ(refusal_of_messages(R"([{"content": "x"}])"), "request: messages[0].role is missing");
  EXPECT_EQ(refusal_of_messages(R"([{"role": "user"}])"),
            "request: messages[0].content is missing");
  EXPECT_EQ(refusal_of_messages(R"([{"role": "king", "content": ""}])"),
            "request: messages[0].role is \"king\", it must be system, developer, user, assistant "
            "or tool");
  EXPECT_EQ(refusal_of_messages(R"([{"role": "user", "content": [{"type": "image_url"}]}])"),
            "request: messages[0].content holds a part of type \"image_url\", only \"text\" is "
            "supported in this version");
}

TEST(ApiRequest, ReadsPromptsInEveryForm) {
  EXPECT_EQ(std::get<std::string>(completion(R"("prompt": "a")").prompts.at(0)), "a");
  EXPECT_EQ(completion(R"("prompt": ["a", "b"])").prompts.size(), 2U);
  EXPECT_EQ(std::get<TokenIds>(completion(R"("prompt": [1, 2])").prompts.at(0)), (TokenIds{1, 2}));
  EXPECT_EQ(completion(R"("prompt": [[1], [2, 3]])").prompts.size(), 2U);
  EXPECT_EQ(completion(R"("prompt": "a")").options.max_tokens, 16);
  EXPECT_EQ(completion(R"("prompt": "a", "logprobs": 0)").options.sampling.logprobs, true);
}

TEST(ApiRequest, RefusesPromptsThatAreNone) {
  EXPECT_EQ(completion_refusal(""), "request: prompt is missing");
  EXPECT_EQ(completion_refusal(R"("prompt": [])"), "request: prompt is an empty list");
  EXPECT_EQ(completion_refusal(R"("prompt": [1, "a"])"),
            "request: prompt holds a string among token ids");
  EXPECT_EQ(completion_refusal(R"("prompt": [-1])"),
            "request: prompt holds -1, which is no token id");
  EXPECT_EQ(completion_refusal(R"("prompt": "a", "suffix": "b")"),
            "request: suffix is not supported in this version");
  EXPECT_EQ(completion_refusal(R"("prompt": ["a", "b", "c"], "n": 30)"),
            "request: 3 prompts times n 30 are 90 answers, at most 64 are possible");
}

}  // namespace
}  // namespace krasis::server
