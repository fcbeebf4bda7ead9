// How far long work has come. Whoever starts the work passes the two functions; libraries never
// print.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
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

// Adds up what several threads have done.
class ProgressSum {
 public:
  ProgressSum(const Progress& progress, std::uint64_t total_bytes)
      : progress_(progress), total_bytes_(total_bytes) {}

  void add(std::uint64_t bytes) {
    const std::lock_guard lock(done_mutex_);
    done_bytes_ += bytes;
    progress_.report(done_bytes_, total_bytes_);
  }

 private:
  const Progress& progress_;
  const std::uint64_t total_bytes_;
  std::mutex done_mutex_;
  std::uint64_t done_bytes_ = 0;  // guarded by done_mutex_
};

}  // namespace krasis
