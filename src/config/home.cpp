#include "config/home.h"

#include <array>
#include <cstdlib>
#include <system_error>

namespace krasis {

namespace fs = std::filesystem;

fs::path krasis_home() {
  if (const char* home = std::getenv("KRASIS_HOME"); home != nullptr && *home != '\0') return home;
  if (const char* user = std::getenv("HOME"); user != nullptr && *user != '\0')
    return fs::path(user) / ".krasis";
  return ".krasis";
}

fs::path share_dir() {
  std::error_code failed;
  const fs::path program = fs::read_symlink("/proc/self/exe", failed);
  if (failed) return {};
  const fs::path folder = program.parent_path();
  const std::array candidates = {folder / "../share/krasis", folder / "../../.."};
  for (const fs::path& candidate : candidates) {
    if (fs::exists(candidate / "models/demo/config.json", failed))
      return fs::weakly_canonical(candidate, failed);
  }
  return {};
}

}  // namespace krasis
