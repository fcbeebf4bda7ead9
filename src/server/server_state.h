// What the connections of a server share. Used on the io thread, except where said.
#pragma once

#include <atomic>
#include <boost/asio/thread_pool.hpp>
#include <memory>

#include "server/prepare.h"
#include "server/server.h"

namespace krasis::server {

struct ServerState {
  explicit ServerState(const ServerOptions& server_options) : options(server_options) {}

  const ServerOptions options;
  std::unique_ptr<const ServedModel> model;  // null while it loads; then never changed
  std::atomic<double> progress{0};           // of loading, 0 to 1; any thread
  Places places;                             // any thread
  boost::asio::thread_pool worker{1};        // parses, renders, tokenizes
  bool stopping = false;
};

}  // namespace krasis::server
