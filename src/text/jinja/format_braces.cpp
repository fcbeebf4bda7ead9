// "...".format(...): replacement fields and the format specification of strings and numbers.
#include <algorithm>
#include <cmath>
#include <string>

#include "text/jinja/format.h"
#include "text/jinja/operators.h"

namespace krasis::jinja {
namespace {

constexpr int kMaxPrecision = 1000;

FormatSpec parse_spec(Runtime& runtime, std::string_view text) {
  const std::u32string spec = decode(text);
  FormatSpec result;
  std::size_t at = 0;
  const auto is_align = [](char32_t c) { return c == '<' || c == '>' || c == '^' || c == '='; };
  if (spec.size() > 1 && is_align(spec[1])) {
    result.fill = spec[0];
    result.align = static_cast<char>(spec[1]);
    at = 2;
  } else if (!spec.empty() && is_align(spec[0])) {
    result.align = static_cast<char>(spec[0]);
    at = 1;
  }
  const auto here = [&] { return at < spec.size() ? spec[at] : U'\0'; };
  const auto number = [&](std::size_t most) {
    std::size_t value = 0;
    for (; here() >= '0' && here() <= '9'; ++at)
      value = std::min(most, value * 10 + (here() - '0'));
    return value;
  };
  if (here() == '+' || here() == '-' || here() == ' ') result.sign = static_cast<char>(spec[at++]);
  if (here() == '#') {
    result.alternate = true;
    ++at;
  }
  if (here() == '0' && result.align == 0) {
    result.fill = '0';
    result.align = '=';
    ++at;
  }
  result.width = number(100'000'000);
  if (here() == ',' || here() == '_') result.grouping = static_cast<char>(spec[at++]);
  if (here() == '.') {
    ++at;
    if (here() < '0' || here() > '9') runtime.fail("format: the precision is missing");
    result.precision = static_cast<int>(number(kMaxPrecision));
  }
  if (at < spec.size() && here() < 0x80) result.type = static_cast<char>(spec[at++]);
  if (at < spec.size())
    runtime.fail("format: '" + std::string(text) + "' is no format specification");
  return result;
}

// Separators every three digits (four for other bases), counted from the right of the integer part.
std::string group_digits(const std::string& digits, char separator, std::size_t width) {
  if (separator == 0) return digits;
  const std::size_t integer_end =
      std::min(digits.find_first_not_of("0123456789abcdefABCDEF"), digits.size());
  std::string result;
  for (std::size_t i = 0; i < integer_end; ++i) {
    if (i > 0 && (integer_end - i) % width == 0) result += separator;
    result += digits[i];
  }
  return result + digits.substr(integer_end);
}

std::string sign_text(bool negative, const FormatSpec& spec) {
  return negative ? "-" : spec.sign == '-' ? "" : std::string(1, spec.sign);
}

std::string format_number_text(Runtime& runtime, const std::string& prefix, std::string digits,
                               const FormatSpec& spec, std::size_t group_width) {
  digits = group_digits(digits, spec.grouping, group_width);
  return pad(runtime, prefix + digits, spec, '>', prefix.size());
}

std::string format_float_spec(Runtime& runtime, double value, const FormatSpec& spec) {
  char type = spec.type == 0 ? 'g' : spec.type;
  std::string digits;
  const double magnitude = std::abs(value);
  if (type == '%') {
    digits = format_float(magnitude * 100, 'f', spec.precision.value_or(6), spec.alternate) + "%";
  } else if (spec.type == 0 && !spec.precision) {
    digits = repr_float(magnitude);
  } else {
    if (type == 'n') type = 'g';
    const int precision = spec.precision.value_or(6);
    digits = format_float(magnitude, type, type == 'g' && precision == 0 ? 1 : precision,
                          spec.alternate);
    if (spec.type == 0 && digits.find_first_not_of("0123456789") == digits.npos) digits += ".0";
  }
  return format_number_text(runtime, sign_text(std::signbit(value), spec), digits, spec, 3);
}

std::string format_integer_spec(Runtime& runtime, std::int64_t value, const FormatSpec& spec) {
  if (spec.precision) runtime.fail("format: an integer takes no precision");
  if (spec.type == 'c') {
    if (value < 0 || value > 0x10FFFF || (value >= 0xD800 && value < 0xE000))
      runtime.fail("format: c needs a code point");
    std::string text;
    append_utf8(text, static_cast<char32_t>(value));
    return pad(runtime, text, spec, '<', 0);
  }
  const char type = spec.type;
  const int base = type == 'b' ? 2 : type == 'o' ? 8 : type == 'x' || type == 'X' ? 16 : 10;
  std::string digits = format_digits(value, base);
  std::string prefix = sign_text(value < 0, spec);
  if (spec.alternate && base != 10) prefix += std::string("0") + type;
  if (type == 'X')
    for (char& c : digits) c = c >= 'a' && c <= 'f' ? static_cast<char>(c - 32) : c;
  return format_number_text(runtime, prefix, digits, spec, base == 10 ? 3 : 4);
}

std::string format_text_spec(Runtime& runtime, std::string text, const FormatSpec& spec) {
  if ((spec.type != 0 && spec.type != 's') || spec.align == '=' || spec.sign != '-' ||
      spec.grouping != 0)
    runtime.fail("format: that format specification does not fit a string");
  if (spec.precision) {
    const TextPtr whole = make_text(text);
    text = std::string(
        substring(*whole, 0, std::min(whole->length, static_cast<std::size_t>(*spec.precision))));
  }
  return pad(runtime, std::move(text), spec, '<', 0);
}

std::string format_value(Runtime& runtime, const Value& value, std::string_view text) {
  if (text.empty()) return to_text(runtime, value);
  if (!value.is_string() && !value.is_number()) {
    runtime.fail(std::string("format: a value of type ") + type_name(value) +
                 " takes no format specification");
  }
  FormatSpec spec = parse_spec(runtime, text);
  if (value.is_string()) {
    // A width that starts with 0 fills a string with zeros on its right.
    if (spec.align == '=' && spec.fill == '0' && text[0] == '0') spec.align = '<';
    return format_text_spec(runtime, value.text().bytes, spec);
  }
  const bool float_type =
      spec.type != 0 && std::string_view("eEfFgG%").find(spec.type) != std::string_view::npos;
  if (value.is(Kind::Float) || float_type) {
    if (spec.type != 0 && !float_type && spec.type != 'n')
      runtime.fail("format: that format specification does not fit a float");
    return format_float_spec(runtime, value.to_double(), spec);
  }
  if (spec.type != 0 && std::string_view("bcdoxXn").find(spec.type) == std::string_view::npos)
    runtime.fail("format: that format specification does not fit an integer");
  return format_integer_spec(runtime, value.as_int(), spec);
}

class BraceFormatter {
 public:
  BraceFormatter(Runtime& runtime, const Arguments& arguments, bool markup)
      : runtime_(runtime), arguments_(arguments), markup_(markup) {}

  std::string run(std::string_view format, int depth) {
    if (depth > 2) runtime_.fail("format: replacement fields are nested too deeply");
    std::string out;
    std::size_t at = 0;
    while (at < format.size()) {
      const char c = format[at++];
      if (c != '{' && c != '}') {
        out += c;
      } else if (at < format.size() && format[at] == c) {
        out += c;
        ++at;
      } else if (c == '}') {
        runtime_.fail("format: a single '}' in the format string");
      } else {
        const std::string text = field(format, at, depth);
        runtime_.charge(text.size());
        out += text;
      }
    }
    return out;
  }

 private:
  std::string field(std::string_view format, std::size_t& at, int depth) {
    const std::size_t begin = at;
    int open = 1;
    bool in_index = false;
    for (; open > 0; ++at) {
      if (at >= format.size()) runtime_.fail("format: '{' is not closed in the format string");
      const char c = format[at];
      if (c == '[') in_index = true;
      if (c == ']') in_index = false;
      if (c == '{' && !in_index) ++open;
      if (c == '}' && !in_index) --open;
    }
    const std::string_view inside = format.substr(begin, at - 1 - begin);
    std::size_t name_end = 0;
    for (bool index = false; name_end < inside.size(); ++name_end) {
      if (inside[name_end] == '[') index = true;
      if (inside[name_end] == ']') index = false;
      if (!index && (inside[name_end] == '!' || inside[name_end] == ':')) break;
    }
    Value value = look_up(inside.substr(0, name_end));
    std::string_view rest = inside.substr(name_end);
    if (rest.starts_with('!')) {
      if (rest.size() < 2 || (rest.size() > 2 && rest[2] != ':'))
        runtime_.fail("format: a conversion is one of !s, !r and !a");
      value = convert(value, rest[1]);
      rest.remove_prefix(2);
    }
    if (rest.starts_with(':')) rest.remove_prefix(1);
    const std::string spec = run(rest, depth + 1);
    const std::string text = format_value(runtime_, value, spec);
    const bool safe = value.is_string() && value.text().markup;
    return markup_ && !safe ? escape_html(text) : text;
  }

  Value convert(const Value& value, char conversion) {
    switch (conversion) {
      case 's':
        return runtime_.string(to_text(runtime_, value));
      case 'r':
        return runtime_.string(repr(runtime_, value));
      case 'a':
        return runtime_.string(value.is_string() ? repr_text(value.bytes(), true)
                                                 : repr(runtime_, value));
      default:
        runtime_.fail("format: a conversion is one of !s, !r and !a");
    }
  }

  Value first_value(std::string_view name) {
    if (name.empty()) {
      if (numbering_ < 0) runtime_.fail("format: numbered and unnumbered fields are mixed");
      return positional(static_cast<std::size_t>(numbering_++));
    }
    if (name.find_first_not_of("0123456789") == name.npos) {
      if (numbering_ > 0) runtime_.fail("format: numbered and unnumbered fields are mixed");
      numbering_ = -1;
      return positional(static_cast<std::size_t>(*parse_integer(runtime_, name, 10)));
    }
    for (const auto& [key, value] : arguments_.named)
      if (key->bytes == name) return value;
    runtime_.fail("format: there is no argument '" + std::string(name) + "'");
  }

  Value positional(std::size_t index) {
    if (index >= arguments_.positional.size())
      runtime_.fail("format: there is no argument " + std::to_string(index));
    return arguments_.positional[index];
  }

  Value look_up(std::string_view name) {
    const std::size_t first_end = std::min(name.find_first_of(".["), name.size());
    Value value = first_value(name.substr(0, first_end));
    for (std::size_t at = first_end; at < name.size();) {
      if (name[at] == '.') {
        const std::size_t end = std::min(name.find_first_of(".[", at + 1), name.size());
        value = get_attribute(runtime_, value,
                              make_text(std::string(name.substr(at + 1, end - at - 1))));
        at = end;
      } else if (name[at] == '[') {
        const std::size_t end = name.find(']', at);
        if (end == name.npos) runtime_.fail("format: '[' is not closed in a field name");
        const std::string_view key = name.substr(at + 1, end - at - 1);
        const bool index = !key.empty() && key.find_first_not_of("0123456789") == key.npos;
        value = get_item(
            runtime_, value,
            index ? Value::integer(*parse_integer(runtime_, key, 10)) : runtime_.string(key));
        at = end + 1;
      } else {
        runtime_.fail("format: a field name continues with '.' or '['");
      }
    }
    return value;
  }

  Runtime& runtime_;
  const Arguments& arguments_;
  bool markup_;
  int numbering_ = 0;  // the next automatic number; -1 once a field was numbered by hand
};

}  // namespace

Value format_braces(Runtime& runtime, const Text& format, const Arguments& arguments) {
  return runtime.string(BraceFormatter(runtime, arguments, format.markup).run(format.bytes, 0),
                        format.markup);
}

}  // namespace krasis::jinja
