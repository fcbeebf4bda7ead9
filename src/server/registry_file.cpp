#include "server/registry_file.h"

#include <fmt/core.h>
#include <nlohmann/json.hpp>
#include <system_error>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "config/home.h"

namespace krasis::server {

RegistryFile::RegistryFile(const std::string& host, int port)
    : path_(servers_dir() / (std::to_string(::getpid()) + ".json")) {
  const nlohmann::json json = {{"pid", ::getpid()}, {"host", host}, {"port", port}};
  try {
    std::filesystem::create_directories(path_.parent_path());
    write_file_atomically(path_, json.dump() + "\n");
  } catch (const std::exception& error) {
    log::warning(fmt::format("server: krasis chat will not find it by itself: {}", error.what()));
  }
}

RegistryFile::~RegistryFile() {
  std::error_code ignored;
  std::filesystem::remove(path_, ignored);
}

}  // namespace krasis::server
