#include "text/jinja/literals.h"

#include <algorithm>
#include <charconv>
#include <limits>

namespace krasis::jinja {
namespace {

int digit_of(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return 99;
}

// Behind the digits of `base` at `at`, single underscores between them allowed.
std::size_t scan_digits(std::string_view source, std::size_t at, int base, bool underscore_first) {
  const auto digit = [&](std::size_t i) { return i < source.size() && digit_of(source[i]) < base; };
  if (underscore_first && at < source.size() && source[at] == '_' && digit(at + 1)) ++at;
  if (!digit(at)) return at;
  while (digit(at) || (at < source.size() && source[at] == '_' && digit(at + 1))) ++at;
  return at;
}

std::string without_underscores(std::string_view text) {
  std::string result(text);
  result.erase(std::remove(result.begin(), result.end(), '_'), result.end());
  return result;
}

Value integer(std::string_view digits, int base) {
  const std::string text = without_underscores(digits);
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  return error == std::errc() && end == text.data() + text.size() ? Value::integer(value) : Value();
}

// The end of a float that starts at `at`, or `at`.
std::size_t scan_float(std::string_view source, std::size_t at) {
  if (at > 0 && source[at - 1] == '.') return at;
  const std::size_t whole = scan_digits(source, at, 10, false);
  if (whole == at) return at;
  std::size_t end = whole;
  if (end < source.size() && source[end] == '.') {
    const std::size_t fraction = scan_digits(source, end + 1, 10, false);
    if (fraction > end + 1) end = fraction;
  }
  if (end < source.size() && (source[end] == 'e' || source[end] == 'E')) {
    std::size_t exponent = end + 1;
    if (exponent < source.size() && (source[exponent] == '+' || source[exponent] == '-'))
      ++exponent;
    const std::size_t exponent_end = scan_digits(source, exponent, 10, false);
    if (exponent_end > exponent) return exponent_end;
  }
  return end > whole ? end : at;
}

Value float_value(std::string_view text) {
  const std::string digits = without_underscores(text);
  double value = 0;
  const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (result.ec == std::errc::result_out_of_range) {
    value = digits.find("e-") != digits.npos || digits.find("E-") != digits.npos
                ? 0.0
                : std::numeric_limits<double>::infinity();
  }
  return Value::number(value);
}

// Appends the code point that `count` hexadecimal digits at `at` name.
bool append_hex(std::string_view source, std::size_t& at, std::size_t count, std::string& out,
                std::string& what) {
  char32_t value = 0;
  for (std::size_t i = 0; i < count; ++i, ++at) {
    if (at >= source.size() || digit_of(source[at]) > 15) {
      what = "a \\x, \\u or \\U escape is too short";
      return false;
    }
    value = value * 16 + static_cast<char32_t>(digit_of(source[at]));
  }
  if (value > 0x10FFFF || (value >= 0xD800 && value < 0xE000)) {
    what = "an escape names no character (surrogates cannot be written)";
    return false;
  }
  append_utf8(out, value);
  return true;
}

void append_octal(std::string_view source, std::size_t& at, std::string& out) {
  char32_t value = 0;
  for (int i = 0; i < 3 && at < source.size() && source[at] >= '0' && source[at] <= '7'; ++i, ++at)
    value = value * 8 + static_cast<char32_t>(source[at] - '0');
  append_utf8(out, value);
}

// Behind a backslash Python sees a non-ASCII character already spelled as an escape, of which the
// backslash takes the first half.
void append_spelled(char32_t c, std::string& out) {
  const int digits = c < 0x100 ? 2 : c < 0x10000 ? 4 : 8;
  out += c < 0x100 ? "\\x" : c < 0x10000 ? "\\u" : "\\U";
  for (int shift = (digits - 1) * 4; shift >= 0; shift -= 4)
    out += "0123456789abcdef"[(c >> static_cast<unsigned>(shift)) & 0xFU];
}

}  // namespace

Literal scan_number(std::string_view source, std::size_t at) {
  if (source[at] < '0' || source[at] > '9') return {at, {}};
  if (const std::size_t end = scan_float(source, at); end > at)
    return {end, float_value(source.substr(at, end - at))};
  if (source[at] == '0' && at + 1 < source.size()) {
    const char letter = static_cast<char>(source[at + 1] | 0x20);
    const int base = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 0;
    if (base != 0) {
      if (const std::size_t end = scan_digits(source, at + 2, base, true); end > at + 2)
        return {end, integer(source.substr(at + 2, end - at - 2), base)};
    }
  }
  // A leading zero is a number of zeros only.
  const std::size_t end = scan_digits(source, at, source[at] == '0' ? 1 : 10, false);
  return {end, integer(source.substr(at, end - at), 10)};
}

std::optional<std::string> unescape(std::string_view source, std::string& what) {
  std::string out;
  for (std::size_t at = 0; at < source.size();) {
    const char c = source[at++];
    if (c != '\\') {
      out += c;
      continue;
    }
    const char escape = source[at++];
    static constexpr std::string_view kFrom = "\\'\"abfnrtv";
    static constexpr std::string_view kTo = "\\'\"\a\b\f\n\r\t\v";
    if (escape == '\n') continue;
    if (const std::size_t i = kFrom.find(escape); i != kFrom.npos) {
      out += kTo[i];
    } else if (escape >= '0' && escape <= '7') {
      append_octal(source, --at, out);
    } else if (escape == 'x' || escape == 'u' || escape == 'U') {
      if (!append_hex(source, at, escape == 'x' ? 2 : escape == 'u' ? 4 : 8, out, what))
        return std::nullopt;
    } else if (escape == 'N') {
      what = "a \\N escape: characters cannot be named, write \\u and the code point";
      return std::nullopt;
    } else if (static_cast<unsigned char>(escape) >= 0x80) {
      append_spelled(next_code_point(source, --at), out);
    } else {
      out += '\\';
      out += escape;
    }
  }
  return out;
}

}  // namespace krasis::jinja
