// The HTTP around the answers: paths, methods, keys, limits, timeouts, closing.
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "server_fixture.h"

namespace krasis {
namespace {

using test::Client;
using test::Json;
using test::message_of;
using test::test_options;
using test::TestServer;

TEST(ServerHttp, HealthTellsTheProgressUntilTheModelIsThere) {
  test::ServedParts parts("abc");
  Server server(test_options());
  server.set_progress(1, 4);
  Client client(server.port());
  client.get("/health");
  Client::Response response = client.read();
  EXPECT_EQ(response.result_int(), 503U);
  EXPECT_EQ(Json::parse(response.body())["progress"], 0.25);
  client.post("/v1/chat/completions", "{}");
  response = client.read();
  EXPECT_EQ(response.result_int(), 503U);
  EXPECT_EQ(message_of(response), "server: the model is being loaded, 25 % done");
  server.set_ready(parts.model);
  Client later(server.port());
  later.get("/health");
  response = later.read();
  EXPECT_EQ(response.result_int(), 200U);
  EXPECT_EQ(Json::parse(response.body())["status"], "ok");
}

TEST(ServerHttp, ListsItsModel) {
  TestServer test("abc");
  Client client = test.client();
  client.get("/v1/models");
  const Json models = Json::parse(client.read().body());
  EXPECT_EQ(models["data"][0]["id"], "chain");
  EXPECT_EQ(models["data"][0]["max_model_len"], 4096);
  client.get("/v1/models/chain?x=1");
  EXPECT_EQ(client.read().result_int(), 200U);
  client.get("/v1/models/other");
  const auto missing = client.read();
  EXPECT_EQ(missing.result_int(), 404U);
  EXPECT_EQ(missing.body(),
            R"({"error":{"message":"server: there is no model \"other\"","type":"not_found_error",)"
            R"("param":null,"code":"model_not_found"}})");
}

TEST(ServerHttp, AnswersHeadWithTheLengthAndNoBody) {
  TestServer test("abc");
  Client client = test.client();
  client.send("HEAD /v1/models HTTP/1.1\r\nHost: x\r\n\r\n");
  const auto head = client.read(true);
  client.get("/v1/models");
  EXPECT_EQ(head[boost::beast::http::field::content_length],
            std::to_string(client.read().body().size()));
}

TEST(ServerHttp, RefusesUnknownPathsAndMethods) {
  TestServer test("abc");
  Client client = test.client();
  client.get("/nothing");
  EXPECT_EQ(message_of(client.read()), "server: there is no /nothing");
  client.get("/v1/chat/completions");
  const auto wrong = client.read();
  EXPECT_EQ(wrong.result_int(), 405U);
  EXPECT_EQ(wrong[boost::beast::http::field::allow], "POST");
  EXPECT_EQ(message_of(wrong), "server: /v1/chat/completions takes POST, not GET");
}

TEST(ServerHttp, AsksForTheKeyWhereThereIsOne) {
  ServerOptions options = test_options();
  options.api_key = "secret";
  TestServer test("abc", false, options);
  const auto status = [&](const std::string& fields) {
    Client client = test.client();
    client.get("/v1/models", fields);
    return client.read().result_int();
  };
  EXPECT_EQ(status(""), 401U);
  EXPECT_EQ(status("Authorization: Bearer secre\r\n"), 401U);
  EXPECT_EQ(status("Authorization: Bearer secret1\r\n"), 401U);
  EXPECT_EQ(status("Authorization: Bearer secretsecret\r\n"), 401U);
  EXPECT_EQ(status("Authorization: secret\r\n"), 401U);
  EXPECT_EQ(status("Authorization: Bearer secret\r\n"), 200U);
  Client client = test.client();
  client.get("/health");
  EXPECT_EQ(client.read().result_int(), 200U);
}

TEST(ServerHttp, AllowsPagesOfOtherOrigins) {
  TestServer test("abc");
  Client client = test.client();
  client.send(
      "OPTIONS /v1/chat/completions HTTP/1.1\r\nHost: x\r\nOrigin: http://page\r\n"
      "Access-Control-Request-Headers: authorization,x-stainless-os\r\n\r\n");
  const auto response = client.read();
  EXPECT_EQ(response.result_int(), 204U);
  EXPECT_EQ(response["Access-Control-Allow-Origin"], "*");
  EXPECT_EQ(response["Access-Control-Allow-Headers"], "authorization,x-stainless-os");
  client.get("/health");  // the connection goes on
  EXPECT_EQ(client.read()["Access-Control-Allow-Origin"], "*");
}

TEST(ServerHttp, AnswersWhatIsNoHttpAndCloses) {
  TestServer test("abc");
  Client client = test.client();
  client.send("this is no request\r\n\r\n");
  const std::string answer = client.read_to_close();
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 400")) << answer;
  EXPECT_NE(answer.find("it is no valid HTTP"), std::string::npos);
}

TEST(ServerHttp, RefusesTenThousandHeaders) {
  TestServer test("abc");
  Client client = test.client();
  std::string request = "GET /health HTTP/1.1\r\nHost: x\r\n";
  for (int i = 0; i < 10000; ++i) request += "X-Field-" + std::to_string(i) + ": value\r\n";
  client.send(request + "\r\n");
  EXPECT_TRUE(client.read_to_close().starts_with("HTTP/1.1 431"));
}

TEST(ServerHttp, RefusesBodiesOverTheLimit) {
  ServerOptions options = test_options();
  options.max_body_bytes = 1000;
  TestServer test("abc", false, options);
  Client announced = test.client();
  announced.post("/v1/chat/completions", std::string(100000, 'x'));
  const std::string answer = announced.read_to_close();
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 413")) << answer;
  EXPECT_NE(answer.find("request: the body has more than 1000 bytes"), std::string::npos);
  Client chunked = test.client();
  chunked.send("POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
  for (int i = 0; i < 20; ++i) chunked.send("64\r\n" + std::string(100, 'x') + "\r\n");
  EXPECT_TRUE(chunked.read_to_close().starts_with("HTTP/1.1 413"));
}

TEST(ServerHttp, ClosesOnClientsThatAreTooSlow) {
  ServerOptions options = test_options();
  options.header_timeout = options.body_timeout = std::chrono::milliseconds(50);
  TestServer test("abc", false, options);
  Client silent = test.client();
  EXPECT_EQ(silent.read_to_close(), "");
  Client half_header = test.client();
  half_header.send("GET /health HT");
  EXPECT_EQ(half_header.read_to_close(), "");
  Client half_body = test.client();
  half_body.send("POST /v1/completions HTTP/1.1\r\nContent-Length: 100\r\n\r\n{\"pro");
  EXPECT_EQ(half_body.read_to_close(), "");
}

TEST(ServerHttp, AnswersPipelinedRequestsInOrder) {
  TestServer test("abc");
  Client client = test.client();
  const std::string body = R"({"prompt": "a", "temperature": 0})";
  const std::string post =
      "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(body.size()) +
      "\r\n\r\n" + body;
  client.send(post + "GET /health HTTP/1.1\r\nHost: x\r\n\r\n" + post +
              "GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(Json::parse(client.read().body())["choices"][0]["text"], "bc");
  EXPECT_EQ(Json::parse(client.read().body())["status"], "ok");
  EXPECT_EQ(Json::parse(client.read().body())["choices"][0]["text"], "bc");
  const auto last = client.read();
  EXPECT_EQ(last.result_int(), 404U);
  EXPECT_FALSE(last.keep_alive());
  EXPECT_EQ(client.read_to_close(), "");
}

TEST(ServerHttp, AsksForTheBodyWhereTheClientWaits) {
  TestServer test("abc");
  Client client = test.client();
  const std::string body = R"({"prompt": "a"})";
  client.send("POST /v1/completions HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: " +
              std::to_string(body.size()) + "\r\n\r\n");
  EXPECT_TRUE(client.read_until("\r\n\r\n").starts_with("HTTP/1.1 100"));
  client.send(body);
  EXPECT_EQ(client.read().result_int(), 200U);
  client.send("POST /v1/completions HTTP/1.1\r\nExpect: 200-ok\r\nContent-Length: 1\r\n\r\n");
  EXPECT_TRUE(client.read_to_close().starts_with("HTTP/1.1 417"));
}

TEST(ServerHttp, ClosesAfterHttpOneZero) {
  TestServer test("abc");
  Client client = test.client();
  client.send("GET /health HTTP/1.0\r\n\r\n");
  EXPECT_TRUE(client.read_to_close().starts_with("HTTP/1.0 200"));
}

TEST(ServerHttp, TellsWhenThereAreTooManyConnections) {
  ServerOptions options = test_options();
  options.max_connections = 2;
  TestServer test("abc", false, options);
  Client first = test.client(), second = test.client();
  first.get("/health");
  second.get("/health");
  first.read();
  second.read();
  Client third = test.client();
  const std::string answer = third.read_to_close();
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 503")) << answer;
  EXPECT_NE(answer.find("server: there are 2 connections already, try again later"),
            std::string::npos);
}

TEST(ServerHttp, StopsWithIdleConnectionsOpen) {
  TestServer test("abc");
  Client idle = test.client();
  idle.get("/health");
  idle.read();
  const auto start = std::chrono::steady_clock::now();
  test.server.stop();
  test.server.stop();
  EXPECT_EQ(idle.read_to_close(), "");
  // The grace period, 5 s, is for answers under way only.
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(4));
}

TEST(ServerHttp, RefusesAnAddressThatIsTaken) {
  Server first(test_options());
  ServerOptions options = test_options();
  options.port = first.port();
  try {
    Server second(options);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.what(), "server: 127.0.0.1:" + std::to_string(first.port()) +
                                ": cannot listen: Address already in use; choose another host or "
                                "port");
  }
}

TEST(ServerHttp, WritesDownWhereItListensAndRemovesItAtTheEnd) {
  const auto home =
      std::filesystem::temp_directory_path() / ("krasis-server-test-" + std::to_string(::getpid()));
  ::setenv("KRASIS_HOME", home.c_str(), 1);
  const auto file = home / "servers" / (std::to_string(::getpid()) + ".json");
  {
    ServerOptions options = test_options();
    options.write_registry = true;
    Server server(options);
    std::ifstream stream(file);
    const Json json = Json::parse(stream);
    EXPECT_EQ(json["port"], server.port());
    EXPECT_EQ(json["host"], "127.0.0.1");
  }
  EXPECT_FALSE(std::filesystem::exists(file));
  std::filesystem::remove_all(home);
  ::unsetenv("KRASIS_HOME");
}

}  // namespace
}  // namespace krasis
