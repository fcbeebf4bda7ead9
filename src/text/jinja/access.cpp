// value.name, value[key], value[a:b:c], value(...).
#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/format.h"
#include "text/jinja/methods.h"
#include "text/jinja/operators.h"
#include "text/jinja/unicode.h"

namespace krasis::jinja {
namespace {

// What Python's getattr finds: a method or a plain attribute; Missing otherwise. Names with an
// underscore in front are out of bounds in the reference's sandbox.
Value find_attribute(Runtime& runtime, const Value& value, std::string_view name) {
  if (value.is(Kind::Object)) return value.object().attribute(runtime, name);
  if (name.starts_with('_')) return {};
  const NativeRow* method = nullptr;
  switch (value.kind()) {
    case Kind::String:
      method = find_string_method(name);
      break;
    case Kind::List:
      method = find_list_method(name);
      break;
    case Kind::Tuple:
      if (value.sequence().group && name == "grouper") return value.items()[0];
      if (value.sequence().group && name == "list") return value.items()[1];
      method = find_tuple_method(name);
      break;
    case Kind::Dict:
      method = find_dict_method(name);
      break;
    case Kind::Bool:
    case Kind::Int:
      if (name == "real" || name == "numerator") return Value::integer(value.as_int());
      if (name == "imag") return Value::integer(0);
      if (name == "denominator") return Value::integer(1);
      method = find_number_method(name);
      break;
    case Kind::Float:
      if (name == "real") return value;
      if (name == "imag") return Value::number(0);
      if (name == "is_integer") method = find_number_method(name);
      break;
    default:
      break;
  }
  return method == nullptr ? Value() : make_function(runtime, *method, value);
}

Value undefined_member(const Value& value, const TextPtr& name) {
  return Value::undefined_member(type_name(value), name);
}

// The position that a Python index means, or nothing if it is out of range.
std::optional<std::size_t> position(std::int64_t index, std::size_t size) {
  const auto signed_size = static_cast<std::int64_t>(size);
  if (index < 0) index += signed_size;
  if (index < 0 || index >= signed_size) return std::nullopt;
  return static_cast<std::size_t>(index);
}

// The item, or Missing where Python raises TypeError or LookupError.
Value find_item(Runtime& runtime, const Value& value, const Value& key) {
  if (value.is(Kind::Dict)) {
    const Value* found = value.dict().find(key);
    return found == nullptr ? Value() : *found;
  }
  if (!key.is_integral()) return {};
  const std::int64_t index = key.as_int();
  if (value.is_sequence()) {
    const auto at = position(index, value.items().size());
    return at ? value.items()[*at] : Value();
  }
  if (value.is_string()) {
    const auto at = position(index, value.text().length);
    if (!at) return {};
    return runtime.string(std::string(substring(value.text(), *at, *at + 1)), value.text().markup);
  }
  if (value.is(Kind::Object) && value.object().kind() == ObjectKind::Range) {
    const auto& range = static_cast<const Range&>(value.object());
    const auto at = position(index, range.size());
    return at ? Value::integer(range.at(*at)) : Value();
  }
  return {};
}

struct Slice {
  std::int64_t start, stop, step;
  std::size_t count;
};

std::optional<std::int64_t> bound(Runtime& runtime, const Value& value) {
  if (value.is_none()) return std::nullopt;
  require_defined(runtime, value);
  if (!value.is_integral()) {
    runtime.fail(std::string("a slice bound has to be an integer, not a value of type ") +
                 type_name(value));
  }
  return value.as_int();
}

// Python's rules for leaving out, negative and too large bounds.
Slice resolve_slice(Runtime& runtime, const SliceBounds& bounds, std::size_t size) {
  const auto length = static_cast<std::int64_t>(size);
  const std::int64_t step = std::max(bound(runtime, bounds.step).value_or(1), -INT64_MAX);
  if (step == 0) runtime.fail("a slice's step cannot be zero");
  const std::int64_t lowest = step < 0 ? -1 : 0;
  const std::int64_t highest = step < 0 ? length - 1 : length;
  const auto adjust = [&](std::optional<std::int64_t> given, std::int64_t otherwise) {
    if (!given) return otherwise;
    const std::int64_t absolute = *given < 0 ? *given + length : *given;
    return std::clamp(absolute, lowest, highest);
  };
  const std::int64_t start = adjust(bound(runtime, bounds.start), step < 0 ? highest : 0);
  const std::int64_t stop = adjust(bound(runtime, bounds.stop), step < 0 ? lowest : highest);
  std::int64_t count = 0;
  if (step > 0 && start < stop) count = (stop - start - 1) / step + 1;
  if (step < 0 && start > stop) count = (start - stop - 1) / -step + 1;
  return {start, stop, step, static_cast<std::size_t>(count)};
}

Value slice_text(Runtime& runtime, const Text& text, const Slice& slice) {
  const auto start = static_cast<std::size_t>(slice.start);
  if (slice.count == 0) return runtime.string(std::string(), text.markup);
  if (slice.step == 1)
    return runtime.string(std::string(substring(text, start, start + slice.count)), text.markup);
  const std::u32string decoded = decode(text.bytes);
  std::u32string result;
  for (std::size_t i = 0; i < slice.count; ++i) {
    result +=
        decoded[static_cast<std::size_t>(slice.start + slice.step * static_cast<std::int64_t>(i))];
  }
  return runtime.string(encode(result), text.markup);
}

// start + step * index, which may lie just outside the range.
Value at_range(Runtime& runtime, const Range& range, std::int64_t index) {
  const Value offset = binary(runtime, BinaryOperator::Multiply, Value::integer(range.step()),
                              Value::integer(index));
  return binary(runtime, BinaryOperator::Add, Value::integer(range.start()), offset);
}

bool only_digits(std::string_view part) {
  return !part.empty() &&
         std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

Value get_attribute(Runtime& runtime, const Value& value, const TextPtr& name) {
  require_defined(runtime, value);
  Value found = find_attribute(runtime, value, name->bytes);
  if (found.is_missing() && value.is(Kind::Dict))
    if (const Value* item = value.dict().find(std::string_view(name->bytes))) return *item;
  return found.is_missing() ? undefined_member(value, name) : found;
}

Value get_item(Runtime& runtime, const Value& value, const Value& key) {
  require_defined(runtime, value);
  if (value.is_string()) runtime.step_over(value.bytes());
  if (key.is_string()) runtime.step_over(key.bytes());
  Value found = find_item(runtime, value, key);
  if (found.is_missing() && key.is_string()) found = find_attribute(runtime, value, key.bytes());
  if (!found.is_missing()) return found;
  return undefined_member(value, make_text(to_text(runtime, key)));
}

Value get_path(Runtime& runtime, const Value& value, const Value& path) {
  if (path.is_none()) return value;
  if (!path.is_string()) return get_item(runtime, value, path);
  Value result = value;
  std::string_view rest = path.bytes();
  for (bool last = false; !last;) {
    const std::size_t dot = rest.find('.');
    last = dot == rest.npos;
    const std::string_view part = rest.substr(0, dot);
    if (!last) rest.remove_prefix(dot + 1);
    if (only_digits(part)) {
      const auto index = parse_integer(runtime, part, 10);
      result = get_item(runtime, result, Value::integer(*index));
    } else {
      result = get_item(runtime, result, runtime.string(part));
    }
  }
  return result;
}

Value get_slice(Runtime& runtime, const Value& value, const SliceBounds& bounds) {
  require_defined(runtime, value);
  if (value.is_string()) runtime.step_over(value.bytes());
  if (value.is_string())
    return slice_text(runtime, value.text(), resolve_slice(runtime, bounds, value.text().length));
  if (value.is_sequence()) {
    const Slice slice = resolve_slice(runtime, bounds, value.items().size());
    runtime.step(slice.count);
    std::vector<Value> items;
    items.reserve(slice.count);
    for (std::size_t i = 0; i < slice.count; ++i) {
      items.push_back(value.items()[static_cast<std::size_t>(
          slice.start + slice.step * static_cast<std::int64_t>(i))]);
    }
    return value.is(Kind::List) ? runtime.list(std::move(items)) : runtime.tuple(std::move(items));
  }
  if (value.is(Kind::Object) && value.object().kind() == ObjectKind::Range) {
    const auto& range = static_cast<const Range&>(value.object());
    const Slice slice = resolve_slice(runtime, bounds, range.size());
    const Value start = at_range(runtime, range, slice.start);
    const Value stop = at_range(runtime, range, slice.stop);
    const Value step = binary(runtime, BinaryOperator::Multiply, Value::integer(range.step()),
                              Value::integer(slice.step));
    return Value::object(runtime.make<Range>(start.as_int(), stop.as_int(), step.as_int()));
  }
  runtime.fail(std::string("a value of type ") + type_name(value) + " cannot be sliced");
}

Value call(Runtime& runtime, const Value& callee, const Arguments& arguments) {
  require_defined(runtime, callee);
  if (!callee.is(Kind::Object))
    runtime.fail(std::string("a value of type ") + type_name(callee) + " cannot be called");
  return callee.object().call(runtime, arguments);
}

}  // namespace krasis::jinja
