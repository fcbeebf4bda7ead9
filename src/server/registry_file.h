// $KRASIS_HOME/servers/PID.json: how clients on this machine find the server.
#pragma once

#include <filesystem>
#include <string>

namespace krasis::server {

class RegistryFile {
 public:
  // {"pid", "host", "port"}. A folder that cannot be written to is logged, not an error.
  RegistryFile(const std::string& host, int port);
  RegistryFile(const RegistryFile&) = delete;
  RegistryFile& operator=(const RegistryFile&) = delete;
  ~RegistryFile();  // removes it

 private:
  std::filesystem::path path_;
};

}  // namespace krasis::server
