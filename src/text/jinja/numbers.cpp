// Numbers from and to text.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <limits>
#include <string>

#include "text/jinja/format.h"
#include "text/jinja/text.h"

namespace krasis::jinja {
namespace {

int digit_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'z') return c - 'a' + 10;
  if (c >= 'A' && c <= 'Z') return c - 'A' + 10;
  return 99;
}

// The prefix 0x, 0o or 0b names this base; 0 for none.
int prefix_base(std::string_view digits) {
  if (digits.size() < 2 || digits[0] != '0') return 0;
  switch (digits[1]) {
    case 'x':
    case 'X':
      return 16;
    case 'o':
    case 'O':
      return 8;
    case 'b':
    case 'B':
      return 2;
    default:
      return 0;
  }
}

// Underscores may stand between two digits only.
bool well_placed_underscores(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') continue;
    if (i == 0 || i + 1 == text.size() || digit_value(text[i - 1]) > 35 ||
        digit_value(text[i + 1]) > 35)
      return false;
  }
  return true;
}

std::string_view strip(std::string_view text) {
  return strip_left(strip_right(text));
}

}  // namespace

std::optional<std::int64_t> parse_integer(Runtime& runtime, std::string_view text, int base) {
  if (base != 0 && (base < 2 || base > 36)) return std::nullopt;
  text = strip(text);
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  const int named_base = prefix_base(text);
  if (named_base != 0 && (base == 0 || base == named_base)) {
    text.remove_prefix(2);
    if (text.starts_with('_')) text.remove_prefix(1);
    base = named_base;
  } else if (base == 0) {
    base = 10;
    if (text.size() > 1 && text[0] == '0' && text.find_first_not_of("0_") != text.npos)
      return std::nullopt;
  }
  if (text.empty() || !well_placed_underscores(text)) return std::nullopt;
  std::int64_t value = 0;
  bool overflow = false;
  for (const char c : text) {
    if (c == '_') continue;
    const int digit = digit_value(c);
    if (digit >= base) return std::nullopt;
    overflow = overflow || __builtin_mul_overflow(value, base, &value) ||
               __builtin_sub_overflow(value, digit, &value);  // negative: its range is larger
  }
  if (!negative) overflow = overflow || __builtin_sub_overflow(0, value, &value);
  if (overflow) runtime.fail("the integer " + std::string(text) + " does not fit into 64 bits");
  return value;
}

std::optional<double> parse_float(std::string_view text) {
  text = strip(text);
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  if (text.empty() || text[0] == '-' || text[0] == '+' || !well_placed_underscores(text))
    return std::nullopt;
  std::string digits;
  std::copy_if(text.begin(), text.end(), std::back_inserter(digits),
               [](char c) { return c != '_'; });
  std::string lower = digits;
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  const double sign = negative ? -1.0 : 1.0;
  if (lower == "inf" || lower == "infinity") return sign * std::numeric_limits<double>::infinity();
  if (lower == "nan") return std::numeric_limits<double>::quiet_NaN();
  if (lower.find_first_not_of("0123456789.e+-") != lower.npos) return std::nullopt;
  double value = 0;
  const auto [end, error] = std::from_chars(lower.data(), lower.data() + lower.size(), value);
  if (end != lower.data() + lower.size()) return std::nullopt;
  if (error == std::errc::result_out_of_range) {
    const std::size_t exponent = lower.find('e');
    const bool tiny = exponent != lower.npos && lower[exponent + 1] == '-';
    value = tiny ? 0.0 : std::numeric_limits<double>::infinity();
  } else if (error != std::errc()) {
    return std::nullopt;
  }
  return sign * value;
}

std::optional<std::int64_t> truncate_float(Runtime& runtime, double value) {
  if (!std::isfinite(value)) return std::nullopt;
  const double truncated = std::trunc(value);
  if (truncated < -0x1p63 || truncated >= 0x1p63)
    runtime.fail("the number " + std::to_string(value) + " does not fit into a 64-bit integer");
  return static_cast<std::int64_t>(truncated);
}

std::string format_digits(std::int64_t value, int base) {
  // Negated as unsigned: the lowest integer has no positive counterpart.
  const auto magnitude =
      value < 0 ? 0 - static_cast<std::uint64_t>(value) : static_cast<std::uint64_t>(value);
  std::array<char, 64> buffer{};
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), magnitude, base);
  return {buffer.data(), end.ptr};
}

std::string format_float(double value, char type, int precision, bool alternate) {
  const std::string format = std::string(alternate ? "%#.*" : "%.*") + type;
  const int size = std::snprintf(nullptr, 0, format.c_str(), precision, value);
  std::string result(static_cast<std::size_t>(std::max(size, 0)) + 1, '\0');
  std::snprintf(result.data(), result.size(), format.c_str(), precision, value);
  result.pop_back();
  return result;
}

std::string pad(Runtime& runtime, std::string text, const FormatSpec& spec, char default_align,
                std::size_t sign_length) {
  const std::size_t length = count_code_points(text);
  if (spec.width <= length) return text;
  const std::size_t missing = spec.width - length;
  runtime.charge_repeated(4, missing);
  const char align = spec.align == 0 ? default_align : spec.align;
  const std::size_t left = align == '<' ? 0 : align == '^' ? missing / 2 : missing;
  std::string before;
  std::string after;
  for (std::size_t i = 0; i < left; ++i) append_utf8(before, spec.fill);
  for (std::size_t i = left; i < missing; ++i) append_utf8(after, spec.fill);
  const std::size_t fixed = align == '=' ? sign_length : 0;
  return text.substr(0, fixed) + before + text.substr(fixed) + after;
}

}  // namespace krasis::jinja
