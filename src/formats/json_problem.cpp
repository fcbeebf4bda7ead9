#include "formats/json_problem.h"

#include <algorithm>
#include <fmt/format.h>

namespace krasis {

std::string json_problem(std::string_view text, const nlohmann::json::exception& error) {
  constexpr int kOtherErrors = 200;  // nlohmann numbers parse errors from 101 on
  if (error.id >= kOtherErrors) return "is not JSON: a number in it is too large";
  const std::size_t byte = static_cast<const nlohmann::json::parse_error&>(error).byte;
  // Bytes count from 1; the one behind the last is where a text that ends too early goes wrong.
  const std::size_t wrong = std::min(byte == 0 ? 0 : byte - 1, text.size());
  const std::string_view before = text.substr(0, wrong);
  const auto line = 1 + std::ranges::count(before, '\n');
  if (text.find_first_not_of(" \t\r\n") == std::string_view::npos) return "is empty, not JSON";
  if (wrong == text.size())
    return fmt::format("is cut off in line {}, more JSON must follow", line);
  const std::size_t line_start = before.rfind('\n') + 1;  // npos + 1 is 0
  return fmt::format("is not JSON from line {}, column {} on", line, wrong - line_start + 1);
}

}  // namespace krasis
