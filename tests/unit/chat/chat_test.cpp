#include "chat/chat.h"

#include <gtest/gtest.h>
#include <iostream>
#include <sstream>

#include "base/error.h"

namespace krasis {
namespace {

// Says how many messages it was sent, and repeats the last one.
class EchoBackend final : public ChatBackend {
 public:
  std::string description() const override { return "echo"; }
  ChatUsage send(const std::vector<ChatMessage>& messages,
                 const std::function<void(const ChatDelta&)>& on_delta,
                 const CancelFlag& /*cancel*/) override {
    if (messages.back().content == "fail") throw Error(ErrorCode::Io, "server: it is gone");
    first_role = messages.front().role;
    on_delta({.reasoning = "hm", .text = ""});
    on_delta(
        {.reasoning = "", .text = std::to_string(messages.size()) + ":" + messages.back().content});
    return {};
  }

  std::string first_role;
};

struct Session {
  int code = 0;
  std::string out;
};

Session chat(const std::string& input, EchoBackend& backend, const ChatOptions& options = {}) {
  std::istringstream stream(input);
  std::streambuf* const before = std::cin.rdbuf(stream.rdbuf());
  std::cin.clear();
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  Session session;
  session.code = run_chat(backend, options);
  session.out = testing::internal::GetCapturedStdout();
  testing::internal::GetCapturedStderr();
  std::cin.rdbuf(before);
  return session;
}

TEST(Chat, AnswersEachLineWithTheConversationSoFar) {
  EchoBackend backend;
  const Session session = chat("one\n\ntwo\n", backend);
  EXPECT_EQ(session.code, 0);
  EXPECT_EQ(session.out, "hm\n1:one\nhm\n3:two\n");
}

TEST(Chat, ForgetsWithNew) {
  EchoBackend backend;
  EXPECT_EQ(chat("one\n/new\ntwo\n", backend).out, "hm\n1:one\nhm\n1:two\n");
}

TEST(Chat, SetsTheSystemMessage) {
  EchoBackend backend;
  EXPECT_EQ(chat("/system be brief\none\n", backend).out, "hm\n2:one\n");
  EXPECT_EQ(backend.first_role, "system");
  EXPECT_EQ(chat("one\n/system\ntwo\n", backend, {.system = "s"}).out, "hm\n2:one\nhm\n1:two\n");
}

TEST(Chat, EndsWithExit) {
  EchoBackend backend;
  EXPECT_EQ(chat("/help\n/nonsense\n/exit\none\n", backend).out, "");
}

TEST(Chat, GoesOnAfterAFailureAndSaysSoAtTheEnd) {
  EchoBackend backend;
  const Session session = chat("fail\none\n", backend);
  EXPECT_EQ(session.out, "hm\n1:one\n");
  EXPECT_EQ(session.code, 1);
}

}  // namespace
}  // namespace krasis
