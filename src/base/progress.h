// How far long work has come. Whoever starts the work passes the two functions; libraries never
// print.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace krasis {

struct Progress {
  // Called now and then, from any one thread at a time, with growing `done_bytes`.
  std::function<void(std::uint64_t done_bytes, std::uint64_t total_bytes)> advance;
  // One sentence for the user: why something is rebuilt, what is waited for.
  std::function<void(const std::string& text)> message;

  void report(std::uint64_t done_bytes, std::uint64_t total_bytes) const {
    if (advance) advance(done_bytes, total_bytes);
  }
  void say(const std::string& text) const {
    if (message) message(text);
  }
};

}  // namespace krasis
