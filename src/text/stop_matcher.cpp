#include "text/stop_matcher.h"

#include <algorithm>
#include <utility>

namespace krasis::text {
namespace {

// Knuth, Morris and Pratt's failure function.
std::vector<std::size_t> borders_of(std::string_view text) {
  std::vector<std::size_t> border(text.size(), 0);
  std::size_t length = 0;
  for (std::size_t i = 1; i < text.size(); ++i) {
    while (length > 0 && text[i] != text[length]) length = border[length - 1];
    if (text[i] == text[length]) ++length;
    border[i] = length;
  }
  return border;
}

}  // namespace

StopMatcher::StopMatcher(const std::vector<std::string>& stops) {
  for (const std::string& stop : stops) {
    if (!stop.empty()) patterns_.push_back({.text = stop, .border = borders_of(stop)});
  }
}

std::string StopMatcher::push(std::string_view piece) {
  if (stopped_) return "";
  std::string text = std::exchange(held_, {});
  for (const char c : piece) {
    text.push_back(c);
    for (Pattern& p : patterns_) {
      while (p.matched > 0 && p.text[p.matched] != c) p.matched = p.border[p.matched - 1];
      if (p.text[p.matched] == c) ++p.matched;
      if (p.matched < p.text.size()) continue;
      stopped_ = true;
      if (p.text.size() > stop_.size()) stop_ = p.text;
    }
    if (!stopped_) continue;
    text.resize(text.size() - stop_.size());
    return text;
  }
  std::size_t keep = 0;
  for (const Pattern& p : patterns_) keep = std::max(keep, p.matched);
  held_ = text.substr(text.size() - keep);
  text.resize(text.size() - keep);
  return text;
}

std::string StopMatcher::finish() {
  return std::exchange(held_, {});
}

}  // namespace krasis::text
