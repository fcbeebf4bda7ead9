#include "app/progress_bar.h"

#include <algorithm>
#include <cstdio>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <utility>

namespace krasis {
namespace {

constexpr double kSilentSeconds = 0.5;
constexpr double kRedrawSeconds = 0.1;
constexpr int kBarWidth = 30;

// A line that is wider than the terminal would be redrawn below itself.
std::size_t terminal_columns() {
  winsize size{};
  const bool known = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? size.ws_col : 80;
}

}  // namespace

ProgressBar::ProgressBar(std::string title, std::string unit)
    : title_(std::move(title)),
      unit_(std::move(unit)),
      terminal_(::isatty(STDERR_FILENO) != 0),
      start_(Clock::now()),
      last_drawn_(start_) {}

ProgressBar::~ProgressBar() {
  if (drawn_ && terminal_) std::fputc('\n', stderr);
}

void ProgressBar::update(std::uint64_t done, std::uint64_t total) {
  const auto now = Clock::now();
  const double seconds = std::chrono::duration<double>(now - start_).count();
  if (total == 0 || seconds < kSilentSeconds) return;
  if (terminal_) {
    const double since = std::chrono::duration<double>(now - last_drawn_).count();
    if (since < kRedrawSeconds && done < total) return;
  } else {
    const int tenths =
        static_cast<int>(10.0 * static_cast<double>(done) / static_cast<double>(total));
    if (tenths <= tenths_shown_) return;
    tenths_shown_ = tenths;
  }
  last_drawn_ = now;
  draw(done, total, seconds);
}

void ProgressBar::draw(std::uint64_t done, std::uint64_t total, double seconds) {
  const double share = std::min(1.0, static_cast<double>(done) / static_cast<double>(total));
  const double left = share > 0 ? seconds / share - seconds : 0;
  std::string amount;
  if (unit_ == "bytes") {
    amount =
        fmt::format("{:.2f}/{:.2f} GB, {:.2f} GB/s", static_cast<double>(done) / 1e9,
                    static_cast<double>(total) / 1e9, static_cast<double>(done) / 1e9 / seconds);
  } else {
    amount = fmt::format("{}/{} {}", done, total, unit_);
  }
  const auto full = static_cast<std::size_t>(share * kBarWidth);
  const std::string bar = std::string(full, '#') + std::string(kBarWidth - full, '.');
  std::string line;
  if (terminal_) {
    const std::string text =
        fmt::format("{} [{}] {:3.0f} %  {}  {:.0f} s left", title_, bar, 100 * share, amount, left);
    line = "\r\033[K" + text.substr(0, terminal_columns() - 1);
  } else {
    line = fmt::format("{}: {:.0f} %, {}\n", title_, 100 * share, amount);
  }
  std::fwrite(line.data(), 1, line.size(), stderr);
  drawn_ = true;
}

}  // namespace krasis
