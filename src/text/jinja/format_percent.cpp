// "..." % values.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string>

#include "text/jinja/format.h"
#include "text/jinja/operators.h"

namespace krasis::jinja {
namespace {

constexpr int kMaxPercentPrecision = 1000;  // digits; a double has 767 significant ones at the most

class PercentFormatter {
 public:
  PercentFormatter(Runtime& runtime, const Text& format, const Value& value)
      : runtime_(runtime), format_(format.bytes), markup_(format.markup), value_(value) {}

  Value run() {
    for (std::size_t percent; (percent = format_.find('%', at_)) != format_.npos;) {
      out_ += format_.substr(at_, percent - at_);
      at_ = percent + 1;
      conversion();
    }
    out_ += format_.substr(at_);
    const bool unused = value_.is(Kind::Tuple) ? next_ < value_.items().size()
                                               : !value_.is(Kind::Dict) && next_ == 0;
    if (unused) runtime_.fail("%: not all arguments were used by the format string");
    return runtime_.string(std::move(out_), markup_);
  }

 private:
  char peek() const {
    if (at_ >= format_.size()) runtime_.fail("%: the format string ends inside a conversion");
    return format_[at_];
  }

  const Value& argument() {
    if (keyed_) return keyed_value_;
    if (value_.is(Kind::Tuple)) {
      if (next_ >= value_.items().size())
        runtime_.fail("%: the format string needs more arguments");
      return value_.items()[next_++];
    }
    if (next_++ > 0) runtime_.fail("%: the format string needs more arguments");
    return value_;
  }

  void key() {
    keyed_ = false;
    if (peek() != '(') return;
    const std::size_t begin = ++at_;
    for (int depth = 1; depth > 0; ++at_) {
      if (peek() == '(') ++depth;
      if (peek() == ')') --depth;
    }
    if (!value_.is(Kind::Dict)) runtime_.fail("%: a named conversion needs a dict");
    const std::string_view name = format_.substr(begin, at_ - 1 - begin);
    const Value* found = value_.dict().find(name);
    if (found == nullptr) runtime_.fail("%: the dict has no key '" + std::string(name) + "'");
    keyed_value_ = *found;
    keyed_ = true;
  }

  int number(int most) {
    if (peek() == '*') {
      ++at_;
      const Value& value = argument();
      if (!value.is_integral()) runtime_.fail("%: * needs an integer");
      return static_cast<int>(std::clamp<std::int64_t>(value.as_int(), -most, most));
    }
    int result = 0;
    for (; peek() >= '0' && peek() <= '9'; ++at_)
      result = std::min(most, result * 10 + (peek() - '0'));
    return result;
  }

  void conversion() {
    key();
    FormatSpec spec;
    bool zero = false;
    for (bool flags = true; flags;) {
      switch (peek()) {
        case '-':
          spec.align = '<';
          break;
        case '+':
          spec.sign = '+';
          break;
        case ' ':
          spec.sign = spec.sign == '+' ? '+' : ' ';
          break;
        case '#':
          spec.alternate = true;
          break;
        case '0':
          zero = true;
          break;
        default:
          flags = false;
          continue;
      }
      ++at_;
    }
    const int width = number(100'000'000);
    if (width < 0) spec.align = '<';
    spec.width = static_cast<std::size_t>(std::abs(width));
    if (peek() == '.') {
      ++at_;
      spec.precision = std::max(0, number(kMaxPercentPrecision));
    }
    while (peek() == 'l' || peek() == 'h' || peek() == 'L') ++at_;
    spec.type = peek();
    ++at_;
    if (zero && spec.align == 0) {
      spec.align = '=';
      spec.fill = '0';
    }
    convert(spec);
  }

  void convert(FormatSpec& spec) {
    switch (spec.type) {
      case '%':
        out_ += '%';
        return;
      case 's':
      case 'r':
      case 'a':
      case 'c':
        convert_text(spec);
        return;
      case 'd':
      case 'i':
      case 'u':
      case 'x':
      case 'X':
      case 'o':
        convert_integer(spec);
        return;
      case 'e':
      case 'E':
      case 'f':
      case 'F':
      case 'g':
      case 'G':
        convert_float(spec);
        return;
      default:
        runtime_.fail(std::string("%: there is no conversion '") + spec.type + "'");
    }
  }

  void convert_text(FormatSpec& spec) {
    const Value& value = argument();
    std::string text;
    if (spec.type == 'c') {
      text = character(value);
    } else if (spec.type == 's') {
      text = to_text(runtime_, value);
      if (markup_ && !(value.is_string() && value.text().markup)) text = escape_html(text);
      if (value.is_string() && value.text().markup) markup_ = true;
    } else {
      text = value.is_string() ? repr_text(value.bytes(), spec.type == 'a') : repr(runtime_, value);
    }
    if (spec.precision && spec.type != 'c') {
      const TextPtr whole = make_text(text);
      const auto kept = std::min(whole->length, static_cast<std::size_t>(*spec.precision));
      text = std::string(substring(*whole, 0, kept));
    }
    spec.fill = ' ';
    append(pad(runtime_, std::move(text), spec, '>', 0));
  }

  std::string character(const Value& value) {
    if (value.is_string() && value.text().length == 1) return value.text().bytes;
    if (!value.is_integral() || value.as_int() < 0 || value.as_int() > 0x10FFFF ||
        (value.as_int() >= 0xD800 && value.as_int() < 0xE000))
      runtime_.fail("%c needs one character or its code point");
    std::string result;
    append_utf8(result, static_cast<char32_t>(value.as_int()));
    return result;
  }

  std::string sign(bool negative, const FormatSpec& spec) {
    return negative ? "-" : spec.sign == '-' ? "" : std::string(1, spec.sign);
  }

  void convert_integer(const FormatSpec& spec) {
    const Value& value = argument();
    require_defined(runtime_, value);
    const bool decimal = spec.type == 'd' || spec.type == 'i' || spec.type == 'u';
    std::optional<std::int64_t> integer;
    if (value.is_integral()) integer = value.as_int();
    if (decimal && value.is(Kind::Float)) integer = truncate_float(runtime_, value.as_float());
    if (!integer) {
      runtime_.fail(std::string("%") + spec.type + " needs a number, not a value of type " +
                    type_name(value));
    }
    const int base = decimal ? 10 : spec.type == 'o' ? 8 : 16;
    std::string digits = format_digits(*integer, base);
    if (spec.precision && digits.size() < static_cast<std::size_t>(*spec.precision))
      digits.insert(0, static_cast<std::size_t>(*spec.precision) - digits.size(), '0');
    std::string prefix = sign(*integer < 0, spec);
    if (spec.alternate && base == 16) prefix += "0x";
    if (spec.alternate && base == 8) prefix += "0o";
    const std::size_t prefix_length = prefix.size();
    std::string text = prefix + digits;
    if (spec.type == 'X') std::transform(text.begin(), text.end(), text.begin(), upper);
    append(pad(runtime_, std::move(text), spec, '>', prefix_length));
  }

  static char upper(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; }

  void convert_float(const FormatSpec& spec) {
    const Value& value = argument();
    require_defined(runtime_, value);
    if (!value.is_number()) {
      runtime_.fail(std::string("%") + spec.type + " needs a number, not a value of type " +
                    type_name(value));
    }
    const double number = value.to_double();
    std::string text = format_float(number, spec.type, spec.precision.value_or(6), spec.alternate);
    if (text[0] == '-') text.erase(0, 1);
    const std::string prefix = sign(std::signbit(number), spec);
    append(pad(runtime_, prefix + text, spec, '>', prefix.size()));
  }

  void append(const std::string& text) {
    runtime_.charge(text.size());
    out_ += text;
  }

  Runtime& runtime_;
  std::string_view format_;
  bool markup_;
  const Value& value_;
  std::size_t at_ = 0;
  std::size_t next_ = 0;
  bool keyed_ = false;
  Value keyed_value_;
  std::string out_;
};

}  // namespace

Value format_percent(Runtime& runtime, const Text& format, const Value& value) {
  return PercentFormatter(runtime, format, value).run();
}

}  // namespace krasis::jinja
