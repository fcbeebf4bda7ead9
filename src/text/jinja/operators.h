// What Python's operators and conversions do with template values.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "text/jinja/runtime.h"
#include "text/jinja/value.h"

namespace krasis::jinja {

enum class BinaryOperator { Add, Subtract, Multiply, Divide, FloorDivide, Modulo, Power };
enum class Comparison { Equal, NotEqual, Less, LessEqual, Greater, GreaterEqual, In, NotIn };

// Fails like Python (types that do not fit, division by zero) and where an integer result does not
// fit into 64 bits.
Value binary(Runtime& runtime, BinaryOperator op, const Value& left, const Value& right);
Value negate(Runtime& runtime, const Value& value);
Value positive(Runtime& runtime, const Value& value);

bool truth(Runtime& runtime, const Value& value);
bool equal(Runtime& runtime, const Value& left, const Value& right);
bool less(Runtime& runtime, const Value& left, const Value& right);
bool compare(Runtime& runtime, Comparison op, const Value& left, const Value& right);
bool contains(Runtime& runtime, const Value& container, const Value& item);

// len(), or nothing where Python has none.
std::optional<std::size_t> length(Runtime& runtime, const Value& value);

// "use of an undefined value" as an error; does nothing for other values.
void require_defined(Runtime& runtime, const Value& value);

// value.NAME and value[KEY]: a method or an item, Undefined where there is neither.
Value get_attribute(Runtime& runtime, const Value& value, const TextPtr& name);
Value get_item(Runtime& runtime, const Value& value, const Value& key);
// A path as filters take it: "a.b.0", an integer, or none for the value itself.
Value get_path(Runtime& runtime, const Value& value, const Value& path);
// value[start:stop:step]; the bounds may be none.
struct SliceBounds {
  Value start = Value::none();
  Value stop = Value::none();
  Value step = Value::none();
};
Value get_slice(Runtime& runtime, const Value& value, const SliceBounds& bounds);

Value call(Runtime& runtime, const Value& callee, const Arguments& arguments);

// str(value) and repr(value).
std::string to_text(Runtime& runtime, const Value& value);
Value to_string_value(Runtime& runtime, const Value& value);  // a string stays the same value
std::string repr(Runtime& runtime, const Value& value);
std::string repr_text(std::string_view bytes, bool ascii_only = false);
std::string repr_float(double value);

// json.dumps as the reference's `tojson` calls it.
struct JsonStyle {
  bool ensure_ascii = false;
  bool sort_keys = false;
  std::optional<std::string> indent;  // one level's white space
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};
std::string to_json(Runtime& runtime, const Value& value, const JsonStyle& style);

}  // namespace krasis::jinja
