// A chat with an OpenAI-compatible server.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "chat/backend.h"

namespace krasis {

struct ServerAddress {
  std::string host = "127.0.0.1";
  int port = 8012;

  // "host:port", an IPv6 address in brackets.
  std::string authority() const {
    const bool is_ipv6 = host.find(':') != std::string::npos;
    return (is_ipv6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
  }
  std::string url() const { return "http://" + authority(); }
  friend bool operator==(const ServerAddress&, const ServerAddress&) = default;
};

// The first model that GET /v1/models names; nullopt if nothing at the address answers as such a
// server within `timeout_ms`.
std::optional<std::string> served_model(const ServerAddress& address, const std::string& api_key,
                                        int timeout_ms);

std::unique_ptr<ChatBackend> make_http_backend(const ServerAddress& address, std::string model,
                                               std::string api_key);

}  // namespace krasis
