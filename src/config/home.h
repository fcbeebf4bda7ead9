// The folders krasis keeps its things in.
#pragma once

#include <filesystem>

namespace krasis {

// $KRASIS_HOME, or ~/.krasis. Not created here.
std::filesystem::path krasis_home();

inline std::filesystem::path models_dir() {
  return krasis_home() / "models";
}
inline std::filesystem::path servers_dir() {
  return krasis_home() / "servers";
}  // running servers

// What is installed beside the program: models/demo and the text that benchmarks read. The clone
// for a program in build/PRESET/bin, PREFIX/share/krasis for PREFIX/bin. Empty where neither is
// there.
std::filesystem::path share_dir();

}  // namespace krasis
