#include "server/connection.h"

#include <algorithm>
#include <array>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <fmt/core.h>
#include <string_view>
#include <utility>

#include "server/exchange.h"
#include "server/json_fields.h"

namespace krasis::server {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
using Tcp = asio::ip::tcp;
using HttpRequest = http::request<http::string_body>;

constexpr std::uint32_t kHeaderBytes = 64 * 1024;
constexpr std::size_t kBufferBytes = std::size_t{2} * kHeaderBytes;  // a header and what follows it
constexpr std::chrono::seconds kLinger{5};
constexpr std::chrono::minutes kLongestUpload{10};

std::string_view path_of(const HttpRequest& request) {
  const std::string_view target(request.target().data(), request.target().size());
  return target.substr(0, target.find('?'));
}

// Takes as long for a wrong key as for the right one of the same length.
bool same_key(std::string_view given, std::string_view wanted) {
  unsigned different = given.size() != wanted.size() ? 1 : 0;
  for (std::size_t i = 0; i < given.size(); ++i) {
    const char other = wanted.empty() ? '\0' : wanted[i % wanted.size()];
    different |= static_cast<unsigned char>(given[i]) ^ static_cast<unsigned char>(other);
  }
  return different == 0;
}

bool has_key(const HttpRequest& request, const std::string& key) {
  if (key.empty()) return true;
  const auto field = request[http::field::authorization];
  const std::string_view value(field.data(), field.size());
  constexpr std::string_view kScheme = "Bearer ";
  return value.size() > kScheme.size() && beast::iequals(value.substr(0, 7), kScheme) &&
         same_key(value.substr(kScheme.size()), key);
}

// "GET, HEAD" or "POST" for the paths there are, "" for others.
std::string_view methods_of(std::string_view path) {
  if (path == "/health" || path == "/v1/models" || path.starts_with("/v1/models/"))
    return "GET, HEAD";
  if (path == "/v1/chat/completions" || path == "/v1/completions") return "POST";
  return "";
}

Json model_json(const ServedModel& model) {
  return {{"id", model.name},
          {"object", "model"},
          {"created", 0},
          {"owned_by", "krasis"},
          {"max_model_len", model.engine->context_length()}};
}

ApiError loading(double progress) {
  return {503, fmt::format("server: the model is being loaded, {:.0f} % done", progress * 100),
          "model_loading"};
}

}  // namespace

Connection::Connection(Tcp::socket socket, ServerState& state)
    : state_(state), stream_(std::move(socket)), buffer_(kBufferBytes) {
  boost::system::error_code ignored;
  stream_.socket().set_option(Tcp::no_delay(true), ignored);
}

void Connection::stop(bool at_once) {
  if (busy_ && !at_once) return;
  boost::system::error_code ignored;
  stream_.socket().shutdown(Tcp::socket::shutdown_both, ignored);
  stream_.close();
}

asio::awaitable<void> Connection::run() {
  try {
    while (!state_.stopping) {
      const bool more = co_await serve_one();
      busy_ = false;
      if (!more) break;
    }
    co_await close();
  } catch (const std::exception&) {
    // The connection broke: nobody is left to tell.
  }
}

asio::awaitable<void> Connection::refuse() {
  try {
    const HttpRequest request;
    const ApiError error{503,
                         fmt::format("server: there are {} connections already, try again later",
                                     state_.options.max_connections),
                         "too_many_connections"};
    Reply reply = error_reply(error, request, false);
    co_await send(std::move(reply));
    co_await close();
  } catch (const std::exception&) {
  }
}

// Says that nothing more comes, and takes for a moment what the client still sends: closing over
// unread bytes would reset the connection, and the client might lose our last words.
asio::awaitable<void> Connection::close() {
  boost::system::error_code problem;
  stream_.socket().shutdown(Tcp::socket::shutdown_send, problem);
  stream_.expires_after(kLinger);
  std::array<char, 16384> scratch;
  while (!problem && !state_.stopping) {
    co_await stream_.async_read_some(asio::buffer(scratch),
                                     asio::redirect_error(asio::use_awaitable, problem));
  }
  stream_.close();
}

asio::awaitable<bool> Connection::send(Reply reply) {
  stream_.expires_after(state_.options.write_timeout);
  co_await http::async_write(stream_, reply, asio::use_awaitable);
  co_return !reply.need_eof();
}

asio::awaitable<bool> Connection::refuse_bad(beast::error_code problem) {
  const HttpRequest request;
  ApiError error{400, "request: it is no valid HTTP: " + problem.message(), ""};
  if (problem == http::error::header_limit || problem == http::error::buffer_overflow) {
    error = {431, fmt::format("request: the header has more than {} bytes", kHeaderBytes), ""};
  } else if (problem == http::error::body_limit) {
    error = {413,
             fmt::format("request: the body has more than {} bytes", state_.options.max_body_bytes),
             ""};
  } else if (problem.category() != make_error_code(http::error::bad_method).category() ||
             problem == http::error::end_of_stream || problem == http::error::partial_message) {
    co_return false;  // it left, or was too slow
  }
  Reply reply = error_reply(error, request, false);
  co_await send(std::move(reply));
  co_return false;
}

asio::awaitable<bool> Connection::read_header(Parser& parser) {
  parser.header_limit(kHeaderBytes);
  parser.body_limit(state_.options.max_body_bytes);
  beast::error_code problem;
  stream_.expires_after(state_.options.header_timeout);
  co_await http::async_read_header(stream_, buffer_, parser,
                                   asio::redirect_error(asio::use_awaitable, problem));
  busy_ = true;
  if (!problem) co_return true;
  co_await refuse_bad(problem);
  co_return false;
}

asio::awaitable<bool> Connection::read_body(Parser& parser) {
  if (beast::iequals(parser.get()[http::field::expect], "100-continue")) {
    http::response<http::empty_body> go_on(http::status::continue_, 11);
    stream_.expires_after(state_.options.write_timeout);
    co_await http::async_write(stream_, go_on, asio::use_awaitable);
  }
  const auto latest = std::chrono::steady_clock::now() + kLongestUpload;
  beast::error_code problem;
  while (!parser.is_done() && !problem) {
    if (std::chrono::steady_clock::now() > latest) co_return false;
    stream_.expires_after(state_.options.body_timeout);
    co_await http::async_read_some(stream_, buffer_, parser,
                                   asio::redirect_error(asio::use_awaitable, problem));
  }
  if (!problem) co_return true;
  co_await refuse_bad(problem);
  co_return false;
}

std::optional<ApiError> Connection::not_allowed(const HttpRequest& request) const {
  const std::string_view path = path_of(request);
  const std::string_view methods = methods_of(path);
  const std::string method(request.method_string().data(), request.method_string().size());
  if (methods.empty())
    return ApiError{404, fmt::format("server: there is no {}", path), "unknown_url"};
  if (path != "/health" && !has_key(request, state_.options.api_key)) {
    return ApiError{401,
                    "server: the API key is missing or wrong, send it as Authorization: Bearer",
                    "invalid_api_key"};
  }
  const bool fits = methods == "POST" ? request.method() == http::verb::post
                                      : request.method() == http::verb::get ||
                                            request.method() == http::verb::head;
  if (!fits)
    return ApiError{405, fmt::format("server: {} takes {}, not {}", path, methods, method), ""};
  if (path != "/health" && state_.model == nullptr) return loading(state_.progress);
  return std::nullopt;
}

Reply Connection::health(const HttpRequest& request) const {
  if (state_.model == nullptr) {
    const double progress = state_.progress;
    Json body = Json::parse(error_body(loading(progress)));
    body["status"] = "loading";
    body["progress"] = progress;
    return json_reply(503, body.dump(), request, request.keep_alive());
  }
  const EngineStatus status = state_.model->engine->status();
  const Json body = {{"status", "ok"},
                     {"model", state_.model->name},
                     {"running", status.running},
                     {"waiting", status.waiting},
                     {"pages_total", status.pages_total},
                     {"pages_free", status.pages_free}};
  return json_reply(200, body.dump(), request, request.keep_alive());
}

// The whole answer to whatever needs no body.
std::optional<Reply> Connection::answer_without_body(const HttpRequest& request) const {
  if (request.method() == http::verb::options)
    return preflight_reply(request, request.keep_alive());
  if (const auto problem = not_allowed(request)) {
    // What was announced as a body has not been read: the connection is at its end.
    const bool keep = request.keep_alive() && !request.has_content_length() && !request.chunked();
    Reply reply = error_reply(*problem, request, keep);
    if (problem->status == 405) {
      const std::string_view methods = methods_of(path_of(request));
      reply.set(http::field::allow, beast::string_view(methods.data(), methods.size()));
    }
    return reply;
  }
  const std::string_view path = path_of(request);
  if (path == "/health") return health(request);
  if (path == "/v1/models") {
    const Json list = {{"object", "list"}, {"data", Json::array({model_json(*state_.model)})}};
    return json_reply(200, list.dump(), request, request.keep_alive());
  }
  constexpr std::string_view kOneModel = "/v1/models/";
  if (!path.starts_with(kOneModel)) return std::nullopt;
  const std::string_view name = path.substr(kOneModel.size());
  if (name == state_.model->name)
    return json_reply(200, model_json(*state_.model).dump(), request, request.keep_alive());
  return error_reply(
      {404, fmt::format("server: there is no model \"{}\"", name), "model_not_found"}, request,
      request.keep_alive());
}

// Returns when the client has left. What it sends meanwhile (the next request) is kept.
asio::awaitable<void> Connection::watch_client() {
  for (;;) {
    boost::system::error_code problem;
    co_await stream_.socket().async_wait(Tcp::socket::wait_read,
                                         asio::redirect_error(asio::use_awaitable, problem));
    if (problem) co_return;
    const std::size_t available = stream_.socket().available(problem);
    if (problem || available == 0) co_return;
    if (buffer_.size() + available > kHeaderBytes) {
      // Enough read ahead; whether it leaves now shows when we write.
      asio::steady_timer never(stream_.get_executor(), asio::steady_timer::time_point::max());
      co_await never.async_wait(asio::redirect_error(asio::use_awaitable, problem));
      co_return;
    }
    buffer_.commit(stream_.socket().read_some(buffer_.prepare(available), problem));
    if (problem) co_return;
  }
}

asio::awaitable<bool> Connection::serve_post(Parser& parser, Endpoint endpoint) {
  using namespace asio::experimental::awaitable_operators;
  const bool complete = co_await read_body(parser);
  if (!complete) co_return false;
  stream_.expires_never();
  Exchange exchange(stream_, state_, endpoint, parser.release());
  const std::variant<bool, std::monostate> first = co_await (exchange.run() || watch_client());
  const bool* usable = std::get_if<bool>(&first);
  co_return usable != nullptr&&* usable;
}

asio::awaitable<bool> Connection::serve_one() {
  Parser parser;
  const bool complete = co_await read_header(parser);
  if (!complete) co_return false;
  const HttpRequest& request = parser.get();
  if (const auto expect = request[http::field::expect];
      !expect.empty() && !beast::iequals(expect, "100-continue")) {
    const ApiError error{417, "request: Expect may only ask for 100-continue", ""};
    Reply refusal = error_reply(error, request, false);
    co_return co_await send(std::move(refusal));
  }
  std::optional<Reply> reply = answer_without_body(request);
  if (!reply) {
    const Endpoint endpoint =
        path_of(request) == "/v1/completions" ? Endpoint::Completions : Endpoint::Chat;
    co_return co_await serve_post(parser, endpoint);
  }
  // A body that nobody asked for is read over, if there is one.
  if (reply->keep_alive() && !parser.is_done()) {
    const bool skipped = co_await read_body(parser);
    if (!skipped) co_return false;
  }
  co_return co_await send(std::move(*reply));
}

}  // namespace krasis::server
