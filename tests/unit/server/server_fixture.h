// A server with a ChainRunner behind it, and a client that speaks raw HTTP.
#pragma once

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <gtest/gtest.h>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"
#include "base/log.h"
#include "chain_model.h"
#include "server/server.h"

namespace krasis::test {

using Json = nlohmann::ordered_json;

class Client {
 public:
  using Response = boost::beast::http::response<boost::beast::http::string_body>;

  explicit Client(int port) : socket_(context_) {
    socket_.connect({boost::asio::ip::make_address("127.0.0.1"),
                     static_cast<boost::asio::ip::port_type>(port)});
  }

  void send(const std::string& bytes) {
    boost::system::error_code ignored;  // the server may have closed already
    boost::asio::write(socket_, boost::asio::buffer(bytes), ignored);
  }
  void post(const std::string& path, const std::string& body, const std::string& fields = "") {
    send("POST " + path + " HTTP/1.1\r\nHost: x\r\n" + fields +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  }
  void get(const std::string& path, const std::string& fields = "") {
    send("GET " + path + " HTTP/1.1\r\nHost: x\r\n" + fields + "\r\n");
  }

  Response read(bool head = false) {
    boost::beast::http::response_parser<boost::beast::http::string_body> parser;
    parser.skip(head);
    boost::beast::http::read(socket_, buffer_, parser);
    return parser.release();
  }

  // Bytes until `end` has come (or the connection is closed).
  std::string read_until(const std::string& end) {
    std::string got;
    while (got.find(end) == std::string::npos) {
      char byte = 0;
      boost::system::error_code problem;
      if (boost::asio::read(socket_, boost::asio::buffer(&byte, 1), problem) == 0) break;
      got += byte;
    }
    return got;
  }
  std::string read_to_close() { return read_until(std::string(1, '\0') + "never"); }

  void leave() { socket_.close(); }

 private:
  boost::asio::io_context context_;
  boost::asio::ip::tcp::socket socket_;
  boost::beast::flat_buffer buffer_;
};

inline ServerOptions test_options() {
  ServerOptions options;
  options.port = 0;
  options.write_registry = false;
  return options;
}

constexpr const char* kPlainTemplate = "{% for m in messages %}{{ m.content }}{% endfor %}";

struct ServedParts {
  explicit ServedParts(const std::string& chain, bool loop = false, std::int64_t sequences = 4,
                       const std::string& source = kPlainTemplate)
      : chat_template(source, "test"), runner(new ChainRunner(chain, loop)) {
    log::set_level(log::Level::Off);
    const EngineLimits limits{.context_length = 4096,
                              .max_sequences = sequences,
                              .prompt_chunk = 64,
                              .page_tokens = 16,
                              .pages = 256 * sequences};
    engine = std::make_unique<Engine>(std::unique_ptr<StepRunner>(runner), limits);
    model = make_served_model(*engine, tokenizer, &chat_template, {}, "chain");
    model.end_ids = {kEndToken};
    model.reasoning = source.find("</think>") != std::string::npos;
  }

  text::Tokenizer tokenizer = byte_tokenizer();
  ChatTemplate chat_template;
  ChainRunner* runner;  // the engine's
  std::unique_ptr<Engine> engine;
  ServedModel model;
};

struct TestServer : ServedParts {
  explicit TestServer(const std::string& chain, bool loop = false,
                      const ServerOptions& options = test_options(), std::int64_t sequences = 4,
                      const std::string& source = kPlainTemplate)
      : ServedParts(chain, loop, sequences, source), server(options) {
    server.set_ready(model);
  }

  Client client() { return Client(server.port()); }
  Client::Response post(const std::string& path, const Json& body) {
    Client one(server.port());
    one.post(path, body.dump());
    return one.read();
  }
  Client::Response chat(Json body) {
    if (!body.contains("messages")) body["messages"] = {{{"role", "user"}, {"content", "a"}}};
    return post("/v1/chat/completions", body);
  }

  Server server;
};

// What an error's body says.
inline std::string message_of(const Client::Response& response) {
  return Json::parse(response.body())["error"]["message"].get<std::string>();
}

// The data of each event of a stream's body, as the server wrote it.
inline std::vector<std::string> events_of(const std::string& body) {
  std::vector<std::string> events;
  for (std::size_t at = 0; at < body.size();) {
    const std::size_t end = body.find("\n\n", at);
    if (end == std::string::npos) break;
    const std::string event = body.substr(at, end - at);
    if (event.starts_with("data: ")) events.push_back(event.substr(6));
    at = end + 2;
  }
  return events;
}

}  // namespace krasis::test
