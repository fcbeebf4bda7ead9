// Serving one request for answers: from its body to the last byte of the response.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <memory>
#include <string>
#include <vector>

#include "server/reply.h"
#include "server/response_json.h"
#include "server/server_state.h"

namespace krasis::server {

class Exchange {
 public:
  Exchange(boost::beast::tcp_stream& stream, ServerState& state, Endpoint endpoint,
           http::request<http::string_body> request);

  // False if the connection cannot be used any more. Never throws. Where it is cancelled (the
  // client has left), what is under way in the engine is cancelled too.
  boost::asio::awaitable<bool> run();

 private:
  template <class T>
  using Awaitable = boost::asio::awaitable<T>;

  Awaitable<bool> serve();
  Awaitable<PrepareResult> prepare_on_worker();
  Awaitable<bool> send_error(const ApiError& error);
  Awaitable<bool> send_whole();
  Awaitable<bool> send_stream();
  Awaitable<void> send_stream_header();
  Awaitable<void> send_events(const std::string& events);
  Awaitable<bool> wait_for_news();
  bool take_events(std::string& events);
  void log_end(const char* how) const;
  bool keep_alive() const { return request_.keep_alive() && !state_.stopping; }
  bool chunked() const { return request_.version() >= 11; }

  boost::beast::tcp_stream& stream_;
  ServerState& state_;
  Endpoint endpoint_;
  http::request<http::string_body> request_;
  std::shared_ptr<boost::asio::steady_timer> news_;  // cancelled when there is something to take
  Prepared prepared_;
  AnswerHead head_;
  std::vector<ChoiceState> states_;
};

}  // namespace krasis::server
