#include "chat/http_backend.h"

#include <array>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"
#include "chat/sse_reader.h"

namespace krasis {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using Json = nlohmann::json;
using Clock = std::chrono::steady_clock;

constexpr auto kLook = std::chrono::milliseconds(50);  // how often a wait looks at the cancel flag

// One request and its response, read piece by piece. Every wait is cut into short ones, so that it
// ends when the flag goes up or the time is over.
class Exchange {
 public:
  Exchange(const ServerAddress& address, const CancelFlag* cancel, Clock::duration timeout)
      : address_(address), cancel_(cancel), deadline_(Clock::now() + timeout), stream_(context_) {}

  // False if cancelled.
  bool start(const http::request<http::string_body>& request) {
    asio::ip::tcp::resolver resolver(context_);
    beast::error_code failed;
    const auto found = resolver.resolve(address_.host, std::to_string(address_.port), failed);
    if (failed) fail("cannot be resolved: " + failed.message());
    return wait([&](auto done) {
             stream_.async_connect(found,
                                   [done](beast::error_code code, const auto&) { done(code); });
           }) &&
           wait([&](auto done) {
             http::async_write(stream_, request,
                               [done](beast::error_code code, std::size_t) { done(code); });
           }) &&
           wait([&](auto done) {
             parser_.body_limit(std::uint64_t{1} << 30);
             http::async_read_header(stream_, buffer_, parser_,
                                     [done](beast::error_code code, std::size_t) { done(code); });
           });
  }

  unsigned status() const { return parser_.get().result_int(); }

  // The next bytes of the body; empty at its end or if cancelled.
  std::string read_some() {
    while (!parser_.is_done()) {
      auto& body = parser_.get().body();
      body.data = piece_.data();
      body.size = piece_.size();
      const bool going = wait([&](auto done) {
        http::async_read_some(stream_, buffer_, parser_,
                              [done](beast::error_code code, std::size_t) {
                                done(code == http::error::need_buffer ? beast::error_code() : code);
                              });
      });
      if (!going) return {};
      const std::size_t got = piece_.size() - parser_.get().body().size;
      if (got > 0) return {piece_.data(), got};
    }
    return {};
  }

  std::string read_all() {
    std::string all;
    for (std::string piece = read_some(); !piece.empty(); piece = read_some()) all += piece;
    return all;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorCode::Io, "server: " + address_.url() + ": " + what);
  }

  template <class Start>
  bool wait(Start&& start) {
    beast::error_code result;
    bool finished = false;
    start([&](beast::error_code code) {
      result = code;
      finished = true;
    });
    context_.restart();
    while (!finished) {
      context_.run_for(kLook);
      const bool cancelled = cancel_ != nullptr && cancel_->raised();
      if (finished || (!cancelled && Clock::now() < deadline_)) continue;
      stream_.cancel();
      context_.restart();
      context_.run();  // lets the operation end before its buffers go away
      if (cancelled) return false;
      fail("does not answer in time");
    }
    if (result) fail(result.message());
    return true;
  }

  ServerAddress address_;
  const CancelFlag* cancel_;
  Clock::time_point deadline_;
  asio::io_context context_;
  beast::tcp_stream stream_;
  beast::flat_buffer buffer_;
  http::response_parser<http::buffer_body> parser_;
  std::array<char, 16384> piece_{};
};

http::request<http::string_body> make_request(http::verb verb, const std::string& target,
                                              const ServerAddress& address,
                                              const std::string& api_key) {
  http::request<http::string_body> request(verb, target, 11);
  request.set(http::field::host, address.authority());
  request.set(http::field::user_agent, "krasis-chat");
  request.set(http::field::connection, "close");
  if (!api_key.empty()) request.set(http::field::authorization, "Bearer " + api_key);
  return request;
}

// The message of an OpenAI error body, or the body itself.
std::string error_text(const std::string& body) {
  const Json json = Json::parse(body, nullptr, false);
  if (json.is_object() && json.contains("error") && json["error"].is_object() &&
      json["error"].contains("message") && json["error"]["message"].is_string())
    return json["error"]["message"].get<std::string>();
  return body.substr(0, 200);
}

std::string text_of(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::int64_t number_of(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number_integer() ? found->get<std::int64_t>() : 0;
}

class HttpBackend final : public ChatBackend {
 public:
  HttpBackend(ServerAddress address, std::string model, std::string api_key)
      : address_(std::move(address)), model_(std::move(model)), api_key_(std::move(api_key)) {}

  std::string description() const override { return model_ + " at " + address_.url(); }

  ChatUsage send(const std::vector<ChatMessage>& messages,
                 const std::function<void(const ChatDelta&)>& on_delta,
                 const CancelFlag& cancel) override {
    Exchange exchange(address_, &cancel, std::chrono::hours(24));
    const auto start = Clock::now();
    ChatUsage usage;
    if (!exchange.start(chat_request(messages))) {
      usage.cancelled = true;
      return usage;
    }
    if (exchange.status() != 200) {
      throw Error(ErrorCode::InvalidArgument, "server: " + address_.url() + ": answered " +
                                                  std::to_string(exchange.status()) + ": " +
                                                  error_text(exchange.read_all()));
    }
    const auto since_start = [&] {
      return std::chrono::duration<double>(Clock::now() - start).count();
    };
    SseReader reader;
    bool complete = false;
    for (std::string piece = exchange.read_some(); !piece.empty(); piece = exchange.read_some()) {
      for (const std::string& event : reader.push(piece)) {
        if (event == "[DONE]") {
          complete = true;
          continue;
        }
        const ChatDelta delta = take_event(event, usage);
        if (delta.text.empty() && delta.reasoning.empty()) continue;
        if (usage.first_token_seconds == 0) usage.first_token_seconds = since_start();
        on_delta(delta);
      }
    }
    usage.total_seconds = since_start();
    usage.cancelled = cancel.raised();
    if (!complete && !usage.cancelled)
      throw Error(ErrorCode::Io, "server: " + address_.url() + ": ended the answer in the middle");
    return usage;
  }

 private:
  http::request<http::string_body> chat_request(const std::vector<ChatMessage>& messages) const {
    Json body = {{"model", model_},
                 {"stream", true},
                 {"stream_options", {{"include_usage", true}}},
                 {"messages", Json::array()}};
    for (const ChatMessage& message : messages)
      body["messages"].push_back({{"role", message.role}, {"content", message.content}});
    auto request = make_request(http::verb::post, "/v1/chat/completions", address_, api_key_);
    request.set(http::field::content_type, "application/json");
    request.body() = body.dump(-1, ' ', false, Json::error_handler_t::replace);
    request.prepare_payload();
    return request;
  }

  ChatDelta take_event(const std::string& event, ChatUsage& usage) const {
    const Json json = Json::parse(event, nullptr, false);
    if (!json.is_object()) {
      throw Error(ErrorCode::Corrupt,
                  "server: " + address_.url() + ": sent an event that is no JSON");
    }
    if (json.contains("error"))
      throw Error(ErrorCode::Io, "server: " + address_.url() + ": " + error_text(event));
    if (const auto counts = json.find("usage"); counts != json.end() && counts->is_object()) {
      usage.prompt_tokens = number_of(*counts, "prompt_tokens");
      usage.completion_tokens = number_of(*counts, "completion_tokens");
    }
    const auto choices = json.find("choices");
    if (choices == json.end() || !choices->is_array() || choices->empty()) return {};
    const Json& choice = choices->front();
    if (!choice.is_object()) return {};
    if (const std::string reason = text_of(choice, "finish_reason"); !reason.empty())
      usage.finish_reason = reason;
    const auto delta = choice.find("delta");
    if (delta == choice.end() || !delta->is_object()) return {};
    return {.reasoning = text_of(*delta, "reasoning_content"), .text = text_of(*delta, "content")};
  }

  ServerAddress address_;
  std::string model_, api_key_;
};

}  // namespace

std::optional<std::string> served_model(const ServerAddress& address, const std::string& api_key,
                                        int timeout_ms) {
  try {
    Exchange exchange(address, nullptr, std::chrono::milliseconds(timeout_ms));
    exchange.start(make_request(http::verb::get, "/v1/models", address, api_key));
    if (exchange.status() != 200) return std::nullopt;
    const Json json = Json::parse(exchange.read_all(), nullptr, false);
    if (!json.is_object() || !json.contains("data") || !json["data"].is_array() ||
        json["data"].empty() || !json["data"][0].is_object())
      return std::nullopt;
    return text_of(json["data"][0], "id");
  } catch (const Error&) {
    return std::nullopt;  // nobody there, or somebody else
  }
}

std::unique_ptr<ChatBackend> make_http_backend(const ServerAddress& address, std::string model,
                                               std::string api_key) {
  return std::make_unique<HttpBackend>(address, std::move(model), std::move(api_key));
}

}  // namespace krasis
