// Python's two ways to fill in a string.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "text/jinja/object.h"
#include "text/jinja/runtime.h"

namespace krasis::jinja {

// format % value; `value` is a tuple of arguments, a dict for %(name)s, or the only argument.
Value format_percent(Runtime& runtime, const Text& format, const Value& value);
// format.format(*args, **kwargs)
Value format_braces(Runtime& runtime, const Text& format, const Arguments& arguments);

// [[fill]align][sign][#][0][width][grouping][.precision][type]
struct FormatSpec {
  char32_t fill = ' ';
  char align = 0;  // < > ^ =, 0 for the type's default
  char sign = '-';
  bool alternate = false;
  std::size_t width = 0;
  char grouping = 0;
  std::optional<int> precision;
  char type = 0;
};

// A number as C and Python print it: type is one of e f g E F G.
std::string format_float(double value, char type, int precision, bool alternate);
// Digits of |value| in base 2, 8, 10 or 16.
std::string format_digits(std::int64_t value, int base);
// Pads to spec.width; `sign_length` leading characters stay in front with '=' alignment.
std::string pad(Runtime& runtime, std::string text, const FormatSpec& spec, char default_align,
                std::size_t sign_length);

// int(text, base) and float(text) as Python reads them; nothing if it would refuse. Fails where an
// integer does not fit into 64 bits.
std::optional<std::int64_t> parse_integer(Runtime& runtime, std::string_view text, int base);
std::optional<double> parse_float(std::string_view text);
// int(value) of a float: fails outside 64 bits, nothing for NaN and infinities.
std::optional<std::int64_t> truncate_float(Runtime& runtime, double value);

}  // namespace krasis::jinja
