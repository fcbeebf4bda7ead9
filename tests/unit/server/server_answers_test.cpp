// Answers over HTTP: whole and streamed, their ends, their failures, clients that leave.
#include <condition_variable>
#include <latch>
#include <mutex>

#include "server_fixture.h"

namespace krasis {
namespace {

using test::Client;
using test::events_of;
using test::Json;
using test::message_of;
using test::test_options;
using test::TestServer;

// What the chunks of choice `index` say, put together.
std::string streamed_text(const std::vector<std::string>& events, std::size_t index = 0) {
  std::string text;
  for (const std::string& event : events) {
    if (event == "[DONE]") continue;
    const Json chunk = Json::parse(event);
    for (const Json& choice : chunk["choices"])
      if (choice["index"] == index) text += choice["delta"].value("content", "");
  }
  return text;
}

void wait_until_idle(const Engine& engine) {
  for (;;) {
    const EngineStatus status = engine.status();
    if (status.running + status.waiting == 0) return;
    std::this_thread::yield();
  }
}

TEST(ServerAnswers, AnswersAChatWhole) {
  TestServer test("abc");
  const auto response = test.chat({{"model", "chain"}});
  ASSERT_EQ(response.result_int(), 200U) << response.body();
  const Json json = Json::parse(response.body());
  EXPECT_EQ(json["object"], "chat.completion");
  EXPECT_EQ(json["model"], "chain");
  EXPECT_EQ(json["choices"][0]["message"], Json({{"role", "assistant"}, {"content", "bc"}}));
  EXPECT_EQ(json["choices"][0]["finish_reason"], "stop");
}

TEST(ServerAnswers, CountsTokensAndTheEnd) {
  TestServer test("abcd");
  const Json json = Json::parse(test.chat(Json::object()).body());
  EXPECT_EQ(json["choices"][0]["message"]["content"], "bcd");
  EXPECT_EQ(json["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(json["usage"],
            Json({{"prompt_tokens", 1}, {"completion_tokens", 4}, {"total_tokens", 5}}));
}

TEST(ServerAnswers, StreamsRoleTextReasonUsageAndDone) {
  TestServer test("ax\xE2\x82\xACy");
  const auto response =
      test.chat({{"stream", true}, {"stream_options", {{"include_usage", true}}}});
  EXPECT_EQ(response["Content-Type"], "text/event-stream; charset=utf-8");
  const auto events = events_of(response.body());
  ASSERT_GE(events.size(), 5U);
  EXPECT_EQ(Json::parse(events[0])["choices"][0]["delta"],
            Json({{"role", "assistant"}, {"content", ""}}));
  EXPECT_EQ(streamed_text(events), "x\xE2\x82\xACy");
  const Json last = Json::parse(events[events.size() - 3]);
  EXPECT_EQ(last["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(last["usage"], nullptr);
  const Json usage = Json::parse(events[events.size() - 2]);
  EXPECT_EQ(usage["choices"], Json::array());
  EXPECT_EQ(usage["usage"]["completion_tokens"], 6);
  EXPECT_EQ(events.back(), "[DONE]");
  int reasons = 0;
  for (std::size_t i = 0; i + 2 < events.size(); ++i)
    reasons += Json::parse(events[i])["choices"][0]["finish_reason"].is_null() ? 0 : 1;
  EXPECT_EQ(reasons, 1);
}

TEST(ServerAnswers, StopsAtAStringAndFreesTheSlot) {
  TestServer test("abcdefgh", true);
  const Json json = Json::parse(test.chat({{"stop", "ef"}}).body());
  EXPECT_EQ(json["choices"][0]["message"]["content"], "bcd");
  EXPECT_EQ(json["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(json["usage"]["completion_tokens"], 5);
  const auto streamed = test.chat({{"stop", {"x", "ef"}}, {"stream", true}});
  EXPECT_EQ(streamed_text(events_of(streamed.body())), "bcd");
  wait_until_idle(*test.engine);
  EXPECT_EQ(test.engine->status().pages_free, test.engine->status().pages_total);
}

TEST(ServerAnswers, CutsAtTheLimitWithEveryToken) {
  TestServer test("abcdefgh", true);
  for (const char* name : {"max_tokens", "max_completion_tokens"}) {
    const Json json = Json::parse(test.chat({{name, 3}}).body());
    EXPECT_EQ(json["choices"][0]["message"]["content"], "bcd");
    EXPECT_EQ(json["choices"][0]["finish_reason"], "length");
  }
}

TEST(ServerAnswers, GivesSeveralChoices) {
  TestServer test("abcd");
  const Json json = Json::parse(test.chat({{"n", 3}}).body());
  ASSERT_EQ(json["choices"].size(), 3U);
  EXPECT_EQ(json["choices"][2]["index"], 2);
  EXPECT_EQ(json["usage"]["prompt_tokens"], 1);
  EXPECT_EQ(json["usage"]["completion_tokens"], 12);
  const auto events = events_of(test.chat({{"n", 2}, {"stream", true}}).body());
  EXPECT_EQ(streamed_text(events, 0), "bcd");
  EXPECT_EQ(streamed_text(events, 1), "bcd");
}

TEST(ServerAnswers, ReportsLogprobsInBothShapes) {
  TestServer test("abc");
  const Json chat = Json::parse(test.chat({{"logprobs", true}, {"top_logprobs", 2}}).body());
  const Json& content = chat["choices"][0]["logprobs"]["content"];
  ASSERT_EQ(content.size(), 2U);
  EXPECT_EQ(content[0]["token"], "b");
  EXPECT_EQ(content[0]["bytes"], Json::array({98}));
  EXPECT_EQ(content[0]["top_logprobs"].size(), 2U);
  const auto response = test.post("/v1/completions", {{"prompt", "a"}, {"logprobs", 1}});
  const Json logprobs = Json::parse(response.body())["choices"][0]["logprobs"];
  EXPECT_EQ(logprobs["tokens"], Json::array({"b", "c"}));
  EXPECT_EQ(logprobs["text_offset"], Json::array({0, 1}));
  EXPECT_TRUE(logprobs["top_logprobs"][1].contains("c"));
}

TEST(ServerAnswers, CompletesPromptsOfEveryForm) {
  TestServer test("abcd");
  const Json both =
      Json::parse(test.post("/v1/completions", {{"prompt", {"a", "b"}}, {"echo", true}}).body());
  EXPECT_EQ(both["object"], "text_completion");
  EXPECT_EQ(both["choices"][0]["text"], "abcd");
  EXPECT_EQ(both["choices"][1]["text"], "bcd");
  const Json ids = Json::parse(test.post("/v1/completions", {{"prompt", {97, 98}}}).body());
  EXPECT_EQ(ids["choices"][0]["text"], "cd");
}

TEST(ServerAnswers, SendsReasoningApart) {
  // The template opens the reasoning with a tag that ends in '>', from where the chain begins.
  TestServer test("x</think>", true, test_options(), 4,
                  "{{ messages[0].content }}<think>{# </think> #}");
  const Json json = Json::parse(test.chat({{"max_tokens", 10}}).body());
  EXPECT_EQ(json["choices"][0]["message"]["content"], "x");
  EXPECT_EQ(json["choices"][0]["message"]["reasoning_content"], "x");
}

TEST(ServerAnswers, RefusesWithTheReason) {
  TestServer test("abc");
  const auto check = [&](Json body, unsigned status, const std::string& message) {
    const auto response = test.chat(std::move(body));
    EXPECT_EQ(response.result_int(), status);
    EXPECT_EQ(message_of(response), message);
  };
  check({{"temperature", "x"}}, 400, "request: temperature is a string, it must be a number");
  check({{"model", "other"}}, 404,
        "request: there is no model \"other\" here, this server has \"chain\"");
  check({{"max_tokens", 5000}}, 400,
        "request: the prompt has 1 tokens and max_tokens is 5000, together more than the context's "
        "4096; shorten the prompt or choose max_tokens up to 4095");
  check({{"logit_bias", {{"300", 1}}}}, 400,
        "sampling: logit_bias names token 300, the vocabulary has 258");
  check({{"messages", {{{"role", "user"}, {"content", ""}}}}}, 400,
        "request: the prompt has no tokens");
  const auto long_prompt = test.post("/v1/completions", {{"prompt", std::string(5000, 'a')}});
  EXPECT_EQ(Json::parse(long_prompt.body())["error"]["code"], "context_length_exceeded");
}

TEST(ServerAnswers, KeepsTheConnectionAfterARefusal) {
  TestServer test("abc");
  Client client = test.client();
  client.post("/v1/completions", "{");
  EXPECT_EQ(client.read().result_int(), 400U);
  client.post("/v1/completions", R"({"prompt": "a"})");
  EXPECT_EQ(client.read().result_int(), 200U);
}

// Holds the engine in its step until open() is called.
class Gate {
 public:
  void wait() {
    std::unique_lock lock(mutex_);
    opened_.wait(lock, [this] { return open_; });
  }
  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    opened_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable opened_;
  bool open_ = false;
};

TEST(ServerAnswers, AnswersHealthAndRefusesMoreWhileTheEngineIsBusy) {
  Gate gate;
  ServerOptions options = test_options();
  options.max_waiting = 1;
  TestServer test("abc", false, options, 1);
  test.runner->before_step = [&] { gate.wait(); };
  Client first = test.client(), second = test.client();
  first.post("/v1/completions", R"({"prompt": "a"})");
  second.post("/v1/completions", R"({"prompt": "a"})");
  while (test.engine->status().running + test.engine->status().waiting < 2)
    std::this_thread::yield();
  const auto third = test.post("/v1/completions", {{"prompt", "a"}});
  EXPECT_EQ(third.result_int(), 429U);
  EXPECT_EQ(third["Retry-After"], "1");
  EXPECT_EQ(message_of(third), "server: 2 answers are under way or waiting, try again later");
  Client health = test.client();
  health.get("/health");
  EXPECT_EQ(health.read().result_int(), 200U);
  gate.open();
  EXPECT_EQ(first.read().result_int(), 200U);
  EXPECT_EQ(second.read().result_int(), 200U);
}

TEST(ServerAnswers, AClientThatLeavesFreesItsSlot) {
  TestServer test("abcdefgh", true);
  for (const char* stream : {"true", "false"}) {
    Gate gate;  // the answer must not end before it was seen to have begun
    test.runner->before_step = [&] { gate.wait(); };
    Client client = test.client();
    client.post("/v1/completions",
                std::string(R"({"prompt": "a", "max_tokens": 4000, "stream": )") + stream + "}");
    while (test.engine->status().running == 0) std::this_thread::yield();
    client.leave();
    gate.open();
    wait_until_idle(*test.engine);
    test.runner->before_step = nullptr;
  }
  // Two full answers would be 8,000 tokens.
  EXPECT_LT(test.engine->status().generated_tokens, 8000U);
  EXPECT_EQ(test.engine->status().pages_free, test.engine->status().pages_total);
}

TEST(ServerAnswers, CommentsKeepASilentStreamOpen) {
  Gate gate;
  ServerOptions options = test_options();
  options.comment_interval = std::chrono::milliseconds(5);
  TestServer test("abc", false, options);
  test.runner->before_step = [&] { gate.wait(); };
  Client client = test.client();
  client.post("/v1/chat/completions",
              R"({"stream": true, "messages": [{"role": "user", "content": "a"}]})");
  EXPECT_NE(client.read_until(": keep-alive\n\n").find("assistant"), std::string::npos);
  gate.open();
  EXPECT_NE(client.read_until("0\r\n\r\n").find("[DONE]"), std::string::npos);
}

TEST(ServerAnswers, AFailedStepIsAnErrorAndTheServerGoesOn) {
  TestServer test("abc");
  std::atomic<bool> fail{true};
  test.runner->before_step = [&] {
    if (fail) throw std::runtime_error("the device is gone");
  };
  const auto whole = test.chat(Json::object());
  EXPECT_EQ(whole.result_int(), 500U);
  EXPECT_EQ(message_of(whole), "the device is gone");
  const auto events = events_of(test.chat({{"stream", true}}).body());
  ASSERT_EQ(events.size(), 3U);
  EXPECT_EQ(Json::parse(events[1])["error"]["message"], "the device is gone");
  EXPECT_EQ(events[2], "[DONE]");
  fail = false;
  EXPECT_EQ(test.chat(Json::object()).result_int(), 200U);
}

TEST(ServerAnswers, StoppingCancelsWhatOutlastsTheGracePeriod) {
  ServerOptions options = test_options();
  options.stop_grace = std::chrono::milliseconds(20);
  auto test = std::make_unique<TestServer>("abcdefgh", true, options);
  Gate never;
  test->runner->before_step = [] { std::this_thread::sleep_for(std::chrono::milliseconds(1)); };
  Client client = test->client();
  client.post("/v1/completions", R"({"prompt": "a", "max_tokens": 4000, "stream": true})");
  client.read_until("data: ");
  test->server.stop();
  wait_until_idle(*test->engine);
  EXPECT_LT(test->engine->status().generated_tokens, 4000U);
  client.read_to_close();
}

TEST(ServerAnswers, StoppingLetsShortAnswersFinish) {
  Gate gate;
  TestServer test("abc");
  test.runner->before_step = [&] { gate.wait(); };
  Client client = test.client();
  client.post("/v1/completions", R"({"prompt": "a"})");
  while (test.engine->status().running == 0) std::this_thread::yield();
  std::thread stopper([&] { test.server.stop(); });
  gate.open();
  EXPECT_EQ(Json::parse(client.read().body())["choices"][0]["text"], "bc");
  stopper.join();
}

TEST(ServerAnswers, AHundredClientsAtOnceGetTheirAnswers) {
  TestServer test("abcdefgh", false);
  std::vector<std::thread> clients;
  std::atomic<int> right{0};
  for (int i = 0; i < 8; ++i) {
    clients.emplace_back([&, i] {
      for (int round = 0; round < 12; ++round) {
        Client client = test.client();
        client.post("/v1/completions",
                    R"({"prompt": "a", "stream": )" + std::string(i % 2 ? "true" : "false") + "}");
        if (i % 3 == 0 && round % 3 == 0) {
          client.leave();
          ++right;
        } else if (i % 2 == 1) {
          std::string text;
          for (const auto& event : events_of(client.read().body())) {
            if (event != "[DONE]") text += Json::parse(event)["choices"][0].value("text", "");
          }
          right += text == "bcdefgh" ? 1 : 0;
        } else {
          right += Json::parse(client.read().body())["choices"][0]["text"] == "bcdefgh" ? 1 : 0;
        }
      }
    });
  }
  for (auto& thread : clients) thread.join();
  EXPECT_EQ(right, 96);
  wait_until_idle(*test.engine);
  EXPECT_EQ(test.engine->status().pages_free, test.engine->status().pages_total);
}

}  // namespace
}  // namespace krasis
