#include "chat/server_finder.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <system_error>

#include "base/error.h"
#include "base/file.h"
#include "config/home.h"

namespace krasis {
namespace {

constexpr int kTimeoutMs = 500;
constexpr std::array kUsualPorts = {8012, 8013, 8014, 8015, 8000, 8080};

// Addresses that running servers have written down: {"host", "port"} in PID.json.
std::vector<ServerAddress> registered_addresses() {
  std::vector<ServerAddress> addresses;
  std::error_code failed;
  for (const auto& entry : std::filesystem::directory_iterator(servers_dir(), failed)) {
    if (entry.path().extension() != ".json") continue;
    try {
      const auto json = nlohmann::json::parse(read_file(entry.path(), 65536), nullptr, false);
      if (!json.is_object() || !json.contains("port") || !json["port"].is_number_integer())
        continue;
      ServerAddress address{.port = json["port"].get<int>()};
      if (json.contains("host") && json["host"].is_string())
        address.host = json["host"].get<std::string>();
      if (address.host == "0.0.0.0" || address.host == "::") address.host = "127.0.0.1";
      addresses.push_back(address);
    } catch (const Error&) {
      continue;  // removed while we looked
    }
  }
  return addresses;
}

}  // namespace

std::vector<FoundServer> find_servers(const std::string& api_key) {
  std::vector<ServerAddress> addresses = registered_addresses();
  for (const int port : kUsualPorts) {
    const ServerAddress usual{.port = port};
    if (std::find(addresses.begin(), addresses.end(), usual) == addresses.end())
      addresses.push_back(usual);
  }
  std::vector<FoundServer> found;
  for (const ServerAddress& address : addresses) {
    const auto model = served_model(address, api_key, kTimeoutMs);
    if (model) found.push_back({address, *model});
  }
  return found;
}

}  // namespace krasis
