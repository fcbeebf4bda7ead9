#include "chat/http_backend.h"

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "base/error.h"
#include "canned_server.h"
#include "chat/server_finder.h"

namespace krasis {
namespace {

using test::CannedServer;
using test::http_answer;
using test::stream_answer;

constexpr const char* kEvents =
    "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n"
    ": keep-alive\n\n"
    "data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"hm\"}}]}\n\n"
    "data: {\"choices\":[{\"delta\":{\"content\":\"yes\"}}]}\n\n"
    "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2}}\n\n";

struct Heard {
  std::string text, reasoning;
  ChatUsage usage;
};

Heard ask(int port, CancelFlag& cancel) {
  const auto backend = make_http_backend({.port = port}, "m", "key");
  Heard heard;
  heard.usage = backend->send(
      {{"system", "be brief"}, {"user", "well?"}},
      [&](const ChatDelta& delta) {
        heard.text += delta.text;
        heard.reasoning += delta.reasoning;
        if (delta.text == "stop me") cancel.raise();
      },
      cancel);
  return heard;
}

std::string failure(const std::string& answer) {
  CannedServer server({answer});
  CancelFlag cancel;
  try {
    ask(server.port(), cancel);
  } catch (const Error& error) {
    std::string text = error.what();
    const std::string url = "http://127.0.0.1:" + std::to_string(server.port());
    return text.replace(text.find(url), url.size(), "URL");
  }
  return "";
}

TEST(ServerAddress, PutsAnIpv6AddressInBrackets) {
  EXPECT_EQ((ServerAddress{.host = "::1", .port = 80}.url()), "http://[::1]:80");
  EXPECT_EQ((ServerAddress{.host = "here", .port = 80}.url()), "http://here:80");
}

TEST(HttpBackend, SendsTheConversationAndReadsTheStream) {
  CannedServer server({stream_answer(std::string(kEvents) + "data: [DONE]\n\n")});
  CancelFlag cancel;
  const Heard heard = ask(server.port(), cancel);
  EXPECT_EQ(heard.text, "yes");
  EXPECT_EQ(heard.reasoning, "hm");
  EXPECT_EQ(heard.usage.prompt_tokens, 7);
  EXPECT_EQ(heard.usage.completion_tokens, 2);
  EXPECT_EQ(heard.usage.finish_reason, "stop");
  EXPECT_FALSE(heard.usage.cancelled);
  const std::string request = server.requests().at(0);
  EXPECT_NE(request.find("Authorization: Bearer key\r\n"), std::string::npos);
  const auto body = nlohmann::json::parse(request.substr(request.find("\r\n\r\n") + 4));
  EXPECT_EQ(body["messages"][1]["content"], "well?");
  EXPECT_EQ(body["stream_options"]["include_usage"], true);
}

TEST(HttpBackend, StopsWhenToldTo) {
  CannedServer server(
      {stream_answer("data: {\"choices\":[{\"delta\":{\"content\":\"stop me\"}}]}\n\n")}, true);
  CancelFlag cancel;
  EXPECT_TRUE(ask(server.port(), cancel).usage.cancelled);
}

TEST(HttpBackend, PassesTheServersWordsOn) {
  EXPECT_EQ(failure(http_answer("400 Bad", R"({"error":{"message":"too long"}})")),
            "server: URL: answered 400: too long");
  EXPECT_EQ(failure(http_answer("502 Bad", "proxy")), "server: URL: answered 502: proxy");
  EXPECT_EQ(failure(stream_answer("data: {\"error\":{\"message\":\"broke\"}}\n\n")),
            "server: URL: broke");
}

TEST(HttpBackend, NoticesAnAnswerThatBreaksOff) {
  EXPECT_EQ(failure(stream_answer(kEvents)), "server: URL: ended the answer in the middle");
  EXPECT_EQ(failure(stream_answer("data: nonsense\n\n")),
            "server: URL: sent an event that is no JSON");
}

TEST(ServedModelName, IsReadFromTheServer) {
  CannedServer server({http_answer("200 OK", R"({"data":[{"id":"demo"}]})"),
                       http_answer("200 OK", "hello"), http_answer("401 No", "{}")});
  const ServerAddress address{.port = server.port()};
  EXPECT_EQ(served_model(address, "", 2000), "demo");
  EXPECT_EQ(served_model(address, "", 2000), std::nullopt);
  EXPECT_EQ(served_model(address, "", 2000), std::nullopt);
}

TEST(FindServers, SkipsStaleEntries) {
  const auto home =
      std::filesystem::temp_directory_path() / ("krasis-chat-test-" + std::to_string(::getpid()));
  std::filesystem::create_directories(home / "servers");
  CannedServer server({http_answer("200 OK", R"({"data":[{"id":"demo"}]})")});
  std::ofstream(home / "servers" / "1.json")
      << R"({"host": "0.0.0.0", "port": )" << server.port() << "}";
  std::ofstream(home / "servers" / "2.json") << R"({"host": "127.0.0.1", "port": 1})";
  std::ofstream(home / "servers" / "3.json") << "{\"port\"";
  std::ofstream(home / "servers" / "note.txt") << "x";
  ::setenv("KRASIS_HOME", home.c_str(), 1);
  bool found = false;
  for (const FoundServer& one : find_servers("")) {
    EXPECT_NE(one.address.port, 1);
    found = found || (one.address.port == server.port() && one.model == "demo");
  }
  EXPECT_TRUE(found);
  ::unsetenv("KRASIS_HOME");
  std::filesystem::remove_all(home);
}

}  // namespace
}  // namespace krasis
