// One client's connection: reads requests one after another, answers each before it reads the next.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <optional>

#include "server/reply.h"
#include "server/server_state.h"

namespace krasis::server {

class Connection {
 public:
  Connection(boost::asio::ip::tcp::socket socket, ServerState& state);

  // Until the client leaves, is too slow, sends what is no HTTP, or the server stops. Never throws.
  boost::asio::awaitable<void> run();

  // Tells the client that there are too many connections.
  boost::asio::awaitable<void> refuse();

  // Ends it: at once, or after the answer under way.
  void stop(bool at_once);

 private:
  using Parser = http::request_parser<http::string_body>;
  template <class T>
  using Awaitable = boost::asio::awaitable<T>;

  Awaitable<bool> serve_one();
  Awaitable<bool> read_header(Parser& parser);
  Awaitable<bool> read_body(Parser& parser);
  Awaitable<bool> serve_post(Parser& parser, Endpoint endpoint);
  Awaitable<bool> send(Reply reply);
  Awaitable<bool> refuse_bad(boost::beast::error_code problem);
  Awaitable<void> watch_client();
  Awaitable<void> close();

  std::optional<Reply> answer_without_body(const http::request<http::string_body>& request) const;
  std::optional<ApiError> not_allowed(const http::request<http::string_body>& request) const;
  Reply health(const http::request<http::string_body>& request) const;

  ServerState& state_;
  boost::beast::tcp_stream stream_;
  boost::beast::flat_buffer buffer_;
  bool busy_ = false;  // answers a request
};

}  // namespace krasis::server
