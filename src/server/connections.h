// Accepts clients and keeps track of them until the last one is gone. Used on the io thread.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <set>

#include "server/connection.h"
#include "server/server_state.h"

namespace krasis::server {

class Connections {
 public:
  // Throws Error(InvalidArgument | Io) if the address cannot be listened at.
  Connections(boost::asio::io_context& context, ServerState& state);

  int port() const { return port_; }

  boost::asio::awaitable<void> accept();

  // Ends everything: what is idle at once, the rest after its answer or the grace period.
  void stop();

 private:
  boost::asio::awaitable<void> serve(boost::asio::ip::tcp::socket socket);

  ServerState& state_;
  boost::asio::ip::tcp::acceptor acceptor_;
  boost::asio::steady_timer grace_;
  int port_ = 0;
  std::set<Connection*> open_;
  std::set<Connection*> refused_;  // being told that there are too many
};

}  // namespace krasis::server
