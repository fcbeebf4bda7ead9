#include "server/connections.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <fmt/core.h>
#include <utility>

#include "base/error.h"
#include "base/log.h"

namespace krasis::server {
namespace {

namespace asio = boost::asio;
using Tcp = asio::ip::tcp;

constexpr std::size_t kMaxRefused = 64;  // more at a time are closed without a word

}  // namespace

Connections::Connections(asio::io_context& context, ServerState& state)
    : state_(state), acceptor_(context), grace_(context) {
  const ServerOptions& options = state.options;
  const auto fail = [&](ErrorCode code, const boost::system::error_code& problem) {
    throw Error(code, fmt::format("server: {}:{}: cannot listen: {}; choose another host or port",
                                  options.host, options.port, problem.message()));
  };
  if (options.port < 0 || options.port > 65535) {
    throw Error(ErrorCode::InvalidArgument,
                fmt::format("server: port is {}, choose 1 to 65535", options.port));
  }
  boost::system::error_code problem;
  Tcp::resolver resolver(context);
  const auto found =
      resolver.resolve(options.host, std::to_string(options.port), Tcp::resolver::passive, problem);
  if (problem) fail(ErrorCode::InvalidArgument, problem);
  const Tcp::endpoint endpoint = found.begin()->endpoint();
  acceptor_.open(endpoint.protocol(), problem);
  if (!problem) acceptor_.set_option(Tcp::acceptor::reuse_address(true), problem);
  if (!problem) acceptor_.bind(endpoint, problem);
  if (!problem) acceptor_.listen(asio::socket_base::max_listen_connections, problem);
  if (problem) fail(ErrorCode::Io, problem);
  port_ = acceptor_.local_endpoint().port();
}

asio::awaitable<void> Connections::serve(Tcp::socket socket) {
  Connection connection(std::move(socket), state_);
  if (static_cast<std::int64_t>(open_.size()) >= state_.options.max_connections) {
    refused_.insert(&connection);
    co_await connection.refuse();
    refused_.erase(&connection);
  } else {
    open_.insert(&connection);
    co_await connection.run();
    open_.erase(&connection);
  }
  if (state_.stopping && open_.empty()) grace_.cancel();
}

asio::awaitable<void> Connections::accept() {
  while (acceptor_.is_open()) {
    boost::system::error_code problem;
    Tcp::socket socket(acceptor_.get_executor());
    co_await acceptor_.async_accept(socket, asio::redirect_error(asio::use_awaitable, problem));
    if (!acceptor_.is_open()) co_return;
    if (problem) {
      log::warning("server: cannot accept a connection: " + problem.message());
      asio::steady_timer pause(acceptor_.get_executor(), std::chrono::milliseconds(100));
      co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, problem));
      continue;
    }
    const auto open = static_cast<std::int64_t>(open_.size());
    if (open >= state_.options.max_connections && refused_.size() >= kMaxRefused) continue;
    asio::co_spawn(acceptor_.get_executor(), serve(std::move(socket)), asio::detached);
  }
}

void Connections::stop() {
  state_.stopping = true;
  boost::system::error_code ignored;
  acceptor_.close(ignored);
  for (Connection* connection : refused_) connection->stop(true);
  for (Connection* connection : open_) connection->stop(false);
  if (open_.empty()) return;
  grace_.expires_after(state_.options.stop_grace);
  grace_.async_wait([this](const boost::system::error_code& cancelled) {
    if (cancelled) return;
    for (Connection* connection : open_) connection->stop(true);
  });
}

}  // namespace krasis::server
