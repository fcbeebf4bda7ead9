#include "server/exchange.h"

#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <fmt/core.h>
#include <utility>

#include "base/log.h"

namespace krasis::server {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;

// Runs work() on the pool and resumes the coroutine, on its own executor, with the result.
template <class Result, class Work>
asio::awaitable<Result> run_on(asio::thread_pool& pool, Work work) {
  auto start = [&pool](auto handler, Work given) {
    asio::post(pool, [handler = std::move(handler), given = std::move(given)]() mutable {
      std::exception_ptr failed;
      Result result{};
      try {
        result = given();
      } catch (...) {
        failed = std::current_exception();
      }
      const auto executor = asio::get_associated_executor(handler);
      // Nothing of the result stays behind here: the coroutine's thread alone ends its life.
      asio::post(executor, [handler = std::move(handler), failed = std::move(failed),
                            result = std::move(result)]() mutable {
        std::move(handler)(std::move(failed), std::move(result));
      });
    });
  };
  return asio::async_initiate<const asio::use_awaitable_t<>, void(std::exception_ptr, Result)>(
      std::move(start), asio::use_awaitable, std::move(work));
}

}  // namespace

Exchange::Exchange(beast::tcp_stream& stream, ServerState& state, Endpoint endpoint,
                   http::request<http::string_body> request)
    : stream_(stream),
      state_(state),
      endpoint_(endpoint),
      request_(std::move(request)),
      news_(std::make_shared<asio::steady_timer>(stream.get_executor())) {}

asio::awaitable<bool> Exchange::run() {
  try {
    const bool usable = co_await serve();
    co_return usable;
  } catch (const std::exception&) {
    // The client has left, or does not take its answer.
    log_end("client left");
    co_return false;
  }
}

asio::awaitable<bool> Exchange::serve() {
  PrepareResult result;
  ApiError problem;
  try {
    result = co_await prepare_on_worker();
    if (result.full) {
      problem = {429,
                 fmt::format("server: {} answers are under way or waiting, try again later",
                             state_.places.limit()),
                 "queue_full"};
    }
  } catch (const Error& error) {
    problem = api_error_of(error);
    result.full = true;
  } catch (const std::bad_alloc&) {
    problem = {503, "server: not enough memory for this request", ""};
    result.full = true;
  }
  if (result.full) {
    const bool sent = co_await send_error(problem);
    co_return sent;
  }
  prepared_ = std::move(result.prepared);
  request_.body() = {};  // may be large, and is not needed any more
  head_ = make_head(endpoint_, prepared_, state_.model->name);
  states_.resize(prepared_.choices.all().size());
  bool usable = false;
  if (prepared_.options.stream) {
    usable = co_await send_stream();
  } else {
    usable = co_await send_whole();
  }
  log_end("done");
  co_return usable;
}

asio::awaitable<PrepareResult> Exchange::prepare_on_worker() {
  auto wake = [news = news_] { asio::post(news->get_executor(), [news] { news->cancel(); }); };
  return run_on<PrepareResult>(state_.worker, [this, wake = std::move(wake)] {
    return prepare(endpoint_, request_.body(), *state_.model, state_.places, wake);
  });
}

asio::awaitable<bool> Exchange::send_error(const ApiError& error) {
  const Reply reply = error_reply(error, request_, keep_alive());
  stream_.expires_after(state_.options.write_timeout);
  co_await http::async_write(stream_, reply, asio::use_awaitable);
  co_return !reply.need_eof();
}

// True if there may be something to take, false if only time has passed.
asio::awaitable<bool> Exchange::wait_for_news() {
  boost::system::error_code woken;
  news_->expires_after(state_.options.comment_interval);
  co_await news_->async_wait(asio::redirect_error(asio::use_awaitable, woken));
  co_return static_cast<bool>(woken);
}

asio::awaitable<bool> Exchange::send_whole() {
  const auto& choices = prepared_.choices.all();
  std::vector<AnswerPiece> pieces(choices.size());
  for (std::size_t i = 0; i < choices.size(); ++i) {
    for (;;) {
      pieces[i] = choices[i]->take_finished();
      if (pieces[i].finish != FinishReason::None) break;
      co_await wait_for_news();
    }
    if (pieces[i].finish == FinishReason::Failed || pieces[i].finish == FinishReason::Cancelled) {
      ApiError problem{500, pieces[i].error, ""};
      if (pieces[i].finish == FinishReason::Cancelled)
        problem = {503, "server: it is shutting down", ""};
      const bool sent = co_await send_error(problem);
      co_return sent;
    }
  }
  const Reply reply =
      json_reply(200, whole_answer(head_, pieces, prepared_, *state_.model->tokenizer), request_,
                 keep_alive());
  stream_.expires_after(state_.options.write_timeout);
  co_await http::async_write(stream_, reply, asio::use_awaitable);
  co_return !reply.need_eof();
}

asio::awaitable<void> Exchange::send_stream_header() {
  http::response<http::empty_body> response(http::status::ok, request_.version());
  set_common_fields(response, chunked() && keep_alive());
  response.set(http::field::content_type, "text/event-stream; charset=utf-8");
  response.set(http::field::cache_control, "no-cache");
  response.set("X-Accel-Buffering", "no");  // proxies pass events on as they come
  response.chunked(chunked());
  http::response_serializer<http::empty_body> serializer(response);
  stream_.expires_after(state_.options.write_timeout);
  co_await http::async_write_header(stream_, serializer, asio::use_awaitable);
}

asio::awaitable<void> Exchange::send_events(const std::string& events) {
  stream_.expires_after(state_.options.write_timeout);
  if (chunked()) {
    co_await asio::async_write(stream_, http::make_chunk(asio::buffer(events)),
                               asio::use_awaitable);
  } else {
    co_await asio::async_write(stream_, asio::buffer(events), asio::use_awaitable);
  }
}

// Adds what all choices have said since the last call; true once all have finished.
bool Exchange::take_events(std::string& events) {
  const auto& choices = prepared_.choices.all();
  bool all_finished = true;
  for (std::size_t i = 0; i < choices.size(); ++i) {
    const AnswerPiece piece = choices[i]->take();
    if (!piece.empty())
      events += piece_events(head_, i, piece, *state_.model->tokenizer, states_[i]);
    if (piece.finish == FinishReason::Failed) events += error_event(piece.error);
    if (piece.finish == FinishReason::Cancelled)
      events += error_event("server: it is shutting down");
    all_finished = all_finished && states_[i].finished;
  }
  return all_finished;
}

asio::awaitable<bool> Exchange::send_stream() {
  co_await send_stream_header();
  std::string events;
  for (std::size_t i = 0; i < states_.size(); ++i) {
    if (endpoint_ == Endpoint::Chat) events += role_event(head_, i);
    if (!prepared_.echo[i].empty()) {
      AnswerPiece echo;
      echo.text = prepared_.echo[i];
      events += piece_events(head_, i, echo, *state_.model->tokenizer, states_[i]);
    }
  }
  for (bool finished = false; !finished;) {
    finished = take_events(events);
    if (finished) {
      if (head_.stream_usage)
        events += usage_event(head_, prepared_.prompt_tokens, completion_tokens(prepared_));
      events += "data: [DONE]\n\n";
    } else if (events.empty()) {
      const bool news = co_await wait_for_news();
      if (!news) events = ": keep-alive\n\n";
      if (news) continue;
    }
    co_await send_events(events);
    events.clear();
  }
  if (chunked()) {
    co_await asio::async_write(stream_, http::make_chunk_last(), asio::use_awaitable);
  }
  co_return chunked() && keep_alive();
}

void Exchange::log_end(const char* how) const {
  if (prepared_.choices.all().empty()) return;
  const auto usage = prepared_.choices.all().front()->usage();
  log::debug(
      fmt::format("server: {}: {} + {} tokens, waited {:.2f} ms, prefill {:.2f} ms, decode "
                  "{:.2f} ms",
                  how, prepared_.prompt_tokens, completion_tokens(prepared_), usage.queue_ms,
                  usage.prefill_ms, usage.decode_ms));
}

}  // namespace krasis::server
