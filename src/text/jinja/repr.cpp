// str() and repr() of values.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <utility>
#include <vector>

#include "text/jinja/operators.h"
#include "text/jinja/unicode.h"

namespace krasis::jinja {
namespace {

std::string hex(char32_t c, int digits) {
  std::string result(static_cast<std::size_t>(digits), '0');
  for (auto it = result.rbegin(); it != result.rend(); ++it, c >>= 4U)
    *it = "0123456789abcdef"[c & 0xFU];
  return result;
}

// Writes nested containers; a container that contains itself is shown as Python shows it.
class ReprWriter {
 public:
  explicit ReprWriter(Runtime& runtime) : runtime_(runtime) {}

  std::string write(const Value& value) {
    append(value);
    return std::move(out_);
  }

 private:
  void append(const Value& value) {
    const Runtime::Nested nested(runtime_);
    runtime_.step();
    const std::size_t before = out_.size();
    switch (value.kind()) {
      case Kind::Missing:
      case Kind::Undefined:
        out_ += "Undefined";
        break;
      case Kind::None:
        out_ += "None";
        break;
      case Kind::Bool:
        out_ += value.as_bool() ? "True" : "False";
        break;
      case Kind::Int:
        out_ += std::to_string(value.as_int());
        break;
      case Kind::Float:
        out_ += repr_float(value.as_float());
        break;
      case Kind::String:
        out_ += value.text().markup ? "Markup(" + repr_text(value.bytes()) + ")"
                                    : repr_text(value.bytes());
        break;
      case Kind::List:
      case Kind::Tuple:
        append_sequence(value);
        break;
      case Kind::Dict:
        append_dict(value);
        break;
      case Kind::Object:
        out_ += value.object().repr(runtime_);
        break;
    }
    if (!value.is_sequence() && !value.is(Kind::Dict)) runtime_.charge(out_.size() - before);
  }

  bool enter(const void* container) {
    if (std::find(open_.begin(), open_.end(), container) != open_.end()) return false;
    open_.push_back(container);
    return true;
  }

  void append_sequence(const Value& value) {
    const bool list = value.is(Kind::List);
    if (!enter(&value.sequence())) {
      out_ += list ? "[...]" : "(...)";
      return;
    }
    out_ += list ? '[' : '(';
    const std::vector<Value>& items = value.items();
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out_ += ", ";
      append(items[i]);
    }
    if (!list && items.size() == 1) out_ += ',';
    out_ += list ? ']' : ')';
    open_.pop_back();
  }

  void append_dict(const Value& value) {
    if (!enter(&value.dict())) {
      out_ += "{...}";
      return;
    }
    out_ += '{';
    bool first = true;
    for (const Dict::Entry& entry : value.dict().entries()) {
      if (!first) out_ += ", ";
      first = false;
      append(entry.key);
      out_ += ": ";
      append(entry.value);
    }
    out_ += '}';
    open_.pop_back();
  }

  Runtime& runtime_;
  std::string out_;
  std::vector<const void*> open_;
};

}  // namespace

std::string repr_float(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  std::array<char, 64> buffer{};
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                 std::chars_format::scientific);
  const std::string_view shortest(buffer.data(), static_cast<std::size_t>(end.ptr - buffer.data()));
  const std::size_t e = shortest.find('e');
  int exponent = 0;
  const std::size_t digits_at = shortest[e + 1] == '+' ? e + 2 : e + 1;
  std::from_chars(shortest.data() + digits_at, shortest.data() + shortest.size(), exponent);
  if (exponent < -4 || exponent >= 16) return std::string(shortest);
  std::array<char, 64> fixed{};
  const auto fixed_end =
      std::to_chars(fixed.data(), fixed.data() + fixed.size(), value, std::chars_format::fixed);
  std::string result(fixed.data(), fixed_end.ptr);
  if (result.find('.') == std::string::npos) result += ".0";
  return result;
}

std::string repr_text(std::string_view bytes, bool ascii_only) {
  const bool double_quotes = bytes.find('\'') != bytes.npos && bytes.find('"') == bytes.npos;
  const char quote = double_quotes ? '"' : '\'';
  std::string result(1, quote);
  for (std::size_t position = 0; position < bytes.size();) {
    const std::size_t start = position;
    const char32_t c = next_code_point(bytes, position);
    if (c == '\\' || c == static_cast<char32_t>(quote)) {
      result += '\\';
      result += static_cast<char>(c);
    } else if (c == '\n') {
      result += "\\n";
    } else if (c == '\r') {
      result += "\\r";
    } else if (c == '\t') {
      result += "\\t";
    } else if (c >= 0x80 ? (!ascii_only && is_printable(c)) : (c >= 0x20 && c < 0x7F)) {
      result += bytes.substr(start, position - start);
    } else if (c < 0x100) {
      result += "\\x" + hex(c, 2);
    } else if (c < 0x10000) {
      result += "\\u" + hex(c, 4);
    } else {
      result += "\\U" + hex(c, 8);
    }
  }
  return result += quote;
}

std::string repr(Runtime& runtime, const Value& value) {
  return ReprWriter(runtime).write(value);
}

std::string to_text(Runtime& runtime, const Value& value) {
  if (value.is_string()) return value.text().bytes;
  if (value.is_undefined()) return "";
  return repr(runtime, value);
}

Value to_string_value(Runtime& runtime, const Value& value) {
  return value.is_string() ? value : runtime.string(to_text(runtime, value));
}

}  // namespace krasis::jinja
