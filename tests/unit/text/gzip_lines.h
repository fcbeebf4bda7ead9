// The lines of a gzip file, read through the gzip program.
#pragma once

#include <cstdio>
#include <filesystem>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace krasis::test {

inline std::vector<std::string> gzip_lines(const std::filesystem::path& file) {
  const auto close = [](std::FILE* f) { ::pclose(f); };
  const std::string command = "gzip -dc '" + file.string() + "'";
  const std::unique_ptr<std::FILE, decltype(close)> pipe(::popen(command.c_str(), "r"), close);
  if (!pipe) throw std::runtime_error("cannot run " + command);
  std::string bytes;
  char buffer[65536];
  while (const std::size_t got = std::fread(buffer, 1, sizeof buffer, pipe.get()))
    bytes.append(buffer, got);
  std::vector<std::string> lines;
  std::istringstream stream(bytes);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

}  // namespace krasis::test
