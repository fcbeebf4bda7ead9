// Servers of krasis on this machine.
#pragma once

#include <string>
#include <vector>

#include "chat/http_backend.h"

namespace krasis {

struct FoundServer {
  ServerAddress address;
  std::string model;
};

// Those that $KRASIS_HOME/servers names and that still answer, then those found by asking the usual
// ports of this machine. No server twice.
std::vector<FoundServer> find_servers(const std::string& api_key);

}  // namespace krasis
