#include "server/server.h"

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <fmt/core.h>
#include <mutex>
#include <optional>
#include <thread>

#include "base/log.h"
#include "server/connections.h"
#include "server/registry_file.h"

namespace krasis {

namespace asio = boost::asio;

struct Server::Impl {
  explicit Impl(const ServerOptions& options) : state(options), connections(context, state) {
    if (options.write_registry) registry.emplace(options.host, connections.port());
    asio::co_spawn(context, connections.accept(), asio::detached);
    thread = std::thread([this] { context.run(); });
  }

  void stop() {
    std::call_once(stopped, [this] {
      asio::post(context, [this] { connections.stop(); });
      thread.join();  // run() returns when the last connection and timer are gone
      state.worker.join();
      registry.reset();
    });
  }

  asio::io_context context{1};
  server::ServerState state;
  server::Connections connections;
  std::optional<server::RegistryFile> registry;
  std::once_flag stopped;
  std::thread thread;
};

Server::Server(const ServerOptions& options) : impl_(std::make_unique<Impl>(options)) {}

Server::~Server() {
  stop();
}

int Server::port() const {
  return impl_->connections.port();
}

std::string Server::url() const {
  const std::string& host = impl_->state.options.host;
  const bool is_ipv6 = host.find(':') != std::string::npos;
  return fmt::format("http://{}:{}", is_ipv6 ? "[" + host + "]" : host, port());
}

void Server::set_progress(std::uint64_t done, std::uint64_t total) {
  if (total > 0) {
    impl_->state.progress = std::min(1.0, static_cast<double>(done) / static_cast<double>(total));
  }
}

void Server::set_ready(const ServedModel& model) {
  auto served = std::make_unique<const ServedModel>(model);
  impl_->state.places.set_limit(model.engine->limits().max_sequences +
                                impl_->state.options.max_waiting);
  asio::post(impl_->context, [impl = impl_.get(), served = std::move(served)]() mutable {
    impl->state.model = std::move(served);
  });
}

void Server::stop() {
  impl_->stop();
}

}  // namespace krasis
