#include "app/option_checks.h"

#include <charconv>
#include <fmt/format.h>
#include <optional>
#include <string_view>

namespace krasis {
namespace {

// The number and what follows it.
template <typename Number>
std::optional<std::pair<Number, std::string_view>> leading_number(const std::string& text) {
  Number number{};
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc()) return std::nullopt;
  return std::pair(number, std::string_view(rest, static_cast<std::size_t>(end - rest)));
}

// The power of 1024.
std::optional<int> power_of(std::string_view unit) {
  std::string name = CLI::detail::to_lower(std::string(unit));
  name = CLI::detail::trim(name);
  if (name.empty() || name == "b") return 0;
  const std::size_t letter = std::string_view("kmgtpe").find(name[0]);
  name.erase(0, 1);
  if (letter == std::string_view::npos ||
      (name != "" && name != "b" && name != "i" && name != "ib"))
    return std::nullopt;
  return static_cast<int>(letter) + 1;
}

std::optional<std::uint64_t> size_from(const std::string& text) {
  const auto parsed = leading_number<std::uint64_t>(text);
  if (!parsed) return std::nullopt;
  const std::optional<int> power = power_of(parsed->second);
  if (!power || parsed->first > UINT64_MAX >> (10 * *power)) return std::nullopt;
  return parsed->first << (10 * *power);
}

}  // namespace

CLI::Validator at_least(std::int64_t least) {
  const auto problem = [least](std::string& text) {
    const auto parsed = leading_number<std::int64_t>(text);
    if (!parsed && !text.empty() && text.find_first_not_of("0123456789") == std::string::npos)
      return fmt::format("is {}, choose less than 2^63", text);
    if (!parsed || !parsed->second.empty())
      return fmt::format("is \"{}\", choose a whole number, {} or more", text, least);
    if (parsed->first < least) return fmt::format("is {}, choose {} or more", text, least);
    return std::string();
  };
  return {problem, fmt::format("{} OR MORE", least)};
}

CLI::Validator size_of_at_least(std::uint64_t least_bytes) {
  const auto problem = [least_bytes](std::string& text) {
    const std::optional<std::uint64_t> bytes = size_from(text);
    if (!bytes) return fmt::format("is \"{}\", choose a size such as 16GiB", text);
    if (*bytes < least_bytes)
      return fmt::format("is \"{}\", choose {} MiB or more", text, least_bytes >> 20);
    text = std::to_string(*bytes);
    return std::string();
  };
  return {problem, "SIZE"};
}

CLI::Validator number_of(double least, double most) {
  const auto problem = [least, most](std::string& text) {
    const auto parsed = leading_number<double>(text);
    // False for what is no number, too.
    if (parsed && parsed->second.empty() && parsed->first >= least && parsed->first <= most)
      return std::string();
    return fmt::format("is \"{}\", choose {:g} to {:.0f}", text, least, most);
  };
  return {problem, fmt::format("{:g} TO {:.0f}", least, most)};
}

CLI::Validator not_empty() {
  const auto problem = [](std::string& text) {
    return text.empty() ? std::string("is empty, leave it out or give words") : std::string();
  };
  return {problem, ""};
}

}  // namespace krasis
