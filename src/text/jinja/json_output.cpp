// json.dumps of values.
#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "text/jinja/operators.h"
#include "text/jinja/sorting.h"

namespace krasis::jinja {
namespace {

class JsonWriter {
 public:
  JsonWriter(Runtime& runtime, const JsonStyle& style) : runtime_(runtime), style_(style) {}

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
      case Kind::None:
        out_ += "null";
        break;
      case Kind::Bool:
        out_ += value.as_bool() ? "true" : "false";
        break;
      case Kind::Int:
        out_ += std::to_string(value.as_int());
        break;
      case Kind::Float:
        out_ += number(value.as_float());
        break;
      case Kind::String:
        append_string(value.bytes());
        break;
      case Kind::List:
      case Kind::Tuple:
        append_sequence(value);
        break;
      case Kind::Dict:
        append_dict(value);
        break;
      default:
        runtime_.fail(std::string("tojson: a value of type ") + type_name(value) +
                      " has no JSON form");
    }
    if (!value.is_sequence() && !value.is(Kind::Dict)) runtime_.charge(out_.size() - before);
  }

  static std::string number(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
    return repr_float(value);
  }

  void append_escape(char32_t unit) {
    out_ += "\\u";
    for (unsigned shift = 16; shift > 0; shift -= 4)
      out_ += "0123456789abcdef"[(unit >> (shift - 4)) & 0xFU];
  }

  void append_string(std::string_view bytes) {
    out_ += '"';
    for (std::size_t position = 0; position < bytes.size();) {
      const std::size_t start = position;
      const char32_t c = next_code_point(bytes, position);
      switch (c) {
        case '"':
          out_ += "\\\"";
          break;
        case '\\':
          out_ += "\\\\";
          break;
        case '\n':
          out_ += "\\n";
          break;
        case '\r':
          out_ += "\\r";
          break;
        case '\t':
          out_ += "\\t";
          break;
        case '\f':
          out_ += "\\f";
          break;
        case '\b':
          out_ += "\\b";
          break;
        default:
          if (c >= 0x20 && (c < 0x7F || !style_.ensure_ascii)) {
            out_ += bytes.substr(start, position - start);
          } else if (c == 0x7F) {
            out_ += '\x7f';
          } else if (c < 0x10000) {
            append_escape(c);
          } else {
            append_escape(0xD800 + ((c - 0x10000) >> 10U));
            append_escape(0xDC00 + ((c - 0x10000) & 0x3FFU));
          }
      }
    }
    out_ += '"';
  }

  void append_line_break() {
    if (!style_.indent) return;
    runtime_.charge_repeated(style_.indent->size() + 1, level_ + 1);
    out_ += '\n';
    for (std::size_t i = 0; i < level_; ++i) out_ += *style_.indent;
  }

  void open(char bracket, const void* container) {
    if (std::find(open_.begin(), open_.end(), container) != open_.end())
      runtime_.fail("tojson: a list or dict contains itself");
    open_.push_back(container);
    out_ += bracket;
    ++level_;
  }

  void close(char bracket, bool empty) {
    --level_;
    if (!empty) append_line_break();
    out_ += bracket;
    open_.pop_back();
  }

  void append_sequence(const Value& value) {
    const std::vector<Value>& items = value.items();
    open('[', &value.sequence());
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out_ += style_.item_separator;
      append_line_break();
      append(items[i]);
    }
    close(']', items.empty());
  }

  void append_key(const Value& key) {
    if (key.is_string()) {
      append_string(key.bytes());
    } else if (key.is_number() || key.is_none()) {
      out_ += '"';
      append(key);
      out_ += '"';
    } else {
      runtime_.fail(std::string("tojson: a dict key of type ") + type_name(key) +
                    " has no JSON form");
    }
  }

  void append_dict(const Value& value) {
    open('{', &value.dict());
    std::vector<std::pair<Value, Value>> entries;
    for (const Dict::Entry& entry : value.dict().entries())
      entries.emplace_back(entry.key, entry.value);
    if (style_.sort_keys) {
      merge_sort(entries,
                 [&](const auto& a, const auto& b) { return less(runtime_, a.first, b.first); });
    }
    for (std::size_t i = 0; i < entries.size(); ++i) {
      if (i > 0) out_ += style_.item_separator;
      append_line_break();
      append_key(entries[i].first);
      out_ += style_.key_separator;
      append(entries[i].second);
    }
    close('}', entries.empty());
  }

  Runtime& runtime_;
  const JsonStyle& style_;
  std::string out_;
  std::size_t level_ = 0;
  std::vector<const void*> open_;
};

}  // namespace

std::string to_json(Runtime& runtime, const Value& value, const JsonStyle& style) {
  return JsonWriter(runtime, style).write(value);
}

}  // namespace krasis::jinja
