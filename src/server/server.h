// The HTTP server: OpenAI's API for one model. Answers before the model is there (health 503 with
// the progress) and while the engine works.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "server/served_model.h"

namespace krasis {

struct ServerOptions {
  std::string host = "127.0.0.1";
  int port = 8012;      // 0: any free one
  std::string api_key;  // empty: none is asked for
  std::int64_t max_connections = 256;
  std::int64_t max_waiting = 64;  // answers beyond those that run; more are told 429
  std::size_t max_body_bytes = std::size_t{32} << 20;
  bool write_registry = true;  // $KRASIS_HOME/servers/PID.json, for clients of this machine

  using Duration = std::chrono::milliseconds;
  Duration header_timeout{30'000};    // from the first wait to the end of a request's header
  Duration body_timeout{30'000};      // without a byte of the body
  Duration write_timeout{60'000};     // without the client taking what was sent
  Duration comment_interval{10'000};  // of a stream that has nothing to say
  Duration stop_grace{5'000};         // for answers under way when the server stops
};

class Server {
 public:
  // Listens when it returns. Throws Error(InvalidArgument | Io) with the address and the reason if
  // it cannot.
  explicit Server(const ServerOptions& options);
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server();  // stop()

  int port() const;
  std::string url() const;

  // Thread-safe: what /health says until set_ready().
  void set_progress(std::uint64_t done, std::uint64_t total);

  // From now on requests are served. What the model points to outlives the server. Call it once.
  void set_ready(const ServedModel& model);

  // Accepts nothing new, lets answers under way finish within the grace period, cancels the rest,
  // and returns when all connections are closed. A second call does nothing.
  void stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace krasis
