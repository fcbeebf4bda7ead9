// A bar on standard error that shows how far a long piece of work is: redrawn in place on a
// terminal, a line for every tenth otherwise, nothing for work that ends within half a second.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace krasis {

class ProgressBar {
 public:
  // `unit` is what is counted; "bytes" is shown as GB with a rate.
  ProgressBar(std::string title, std::string unit);
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;
  ~ProgressBar();  // ends the line

  void update(std::uint64_t done, std::uint64_t total);

 private:
  using Clock = std::chrono::steady_clock;
  void draw(std::uint64_t done, std::uint64_t total, double seconds);

  std::string title_, unit_;
  bool terminal_;
  Clock::time_point start_, last_drawn_;
  int tenths_shown_ = 0;
  bool drawn_ = false;
};

}  // namespace krasis
