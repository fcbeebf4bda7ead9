// Looks for stop strings in a text that arrives in pieces. The first stop string to be complete
// ends the text; of several that are complete at the same character the longest. What is found does
// not depend on how the text was cut into pieces.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace krasis::text {

class StopMatcher {
 public:
  // Empty stop strings are ignored.
  explicit StopMatcher(const std::vector<std::string>& stops);

  // The text that is safe to send: up to the stop string, without it, or all but the longest end
  // that may still become one. After a stop every call returns "". Time is proportional to the
  // piece and the number of stop strings.
  std::string push(std::string_view piece);
  // What was held back; "" after a stop.
  std::string finish();

  bool stopped() const { return stopped_; }
  const std::string& stop() const { return stop_; }  // which one; empty before

 private:
  struct Pattern {
    std::string text;
    std::vector<std::size_t> border;  // [size]: longest proper border of each prefix
    std::size_t matched = 0;          // how much of text the input ends with
  };

  std::vector<Pattern> patterns_;
  std::string held_;
  std::string stop_;
  bool stopped_ = false;
};

}  // namespace krasis::text
