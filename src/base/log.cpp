#include "base/log.h"

#include <atomic>
#include <cstdio>
#include <string>

namespace krasis::log {
namespace {

std::atomic<Level> threshold{Level::Info};

void write(Level level, std::string_view prefix, std::string_view line) {
  if (level < threshold.load(std::memory_order_relaxed)) return;
  std::string text(prefix);
  text += line;
  text += '\n';
  std::fwrite(text.data(), 1, text.size(), stderr);  // one call: lines of two threads never mix
}

}  // namespace

void set_level(Level level) {
  threshold = level;
}
void debug(std::string_view line) {
  write(Level::Debug, "debug: ", line);
}
void info(std::string_view line) {
  write(Level::Info, "", line);
}
void warning(std::string_view line) {
  write(Level::Warning, "warning: ", line);
}
void error(std::string_view line) {
  write(Level::Error, "error: ", line);
}

}  // namespace krasis::log
