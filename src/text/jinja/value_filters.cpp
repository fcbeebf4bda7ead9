// Filters on single values: numbers, defaults, attributes, JSON.
#include <array>
#include <cmath>
#include <string>
#include <utility>

#include "text/jinja/format.h"
#include "text/jinja/methods.h"
#include "text/jinja/operators.h"

namespace krasis::jinja {
namespace {

Value absolute(NativeCall& call) {
  const Value& value = call.self();
  require_defined(call.runtime(), value);
  if (value.is(Kind::Float)) return Value::number(std::abs(value.as_float()));
  if (!value.is_integral()) call.fail("needs a number");
  return value.as_int() < 0 ? negate(call.runtime(), value) : Value::integer(value.as_int());
}

Value default_value(NativeCall& call) {
  const bool replace =
      call.self().is_undefined() || (call.flag(1, false) && !truth(call.runtime(), call.self()));
  if (!replace) return call.self();
  return call.given(0) ? call[0] : call.runtime().string(std::string());
}

Value attribute(NativeCall& call) {
  require_defined(call.runtime(), call.self());
  call.text(0);
  // Attributes only, never a dict's items.
  if (call.self().is(Kind::Dict) && find_dict_method(call[0].bytes()) == nullptr)
    return Value::undefined_member(type_name(call.self()), call[0].text_ptr());
  return get_attribute(call.runtime(), call.self(), call[0].text_ptr());
}

Value to_int(NativeCall& call) {
  Runtime& runtime = call.runtime();
  const Value& value = call.self();
  require_defined(runtime, value);
  Value otherwise = call.value(0, Value::integer(0));
  if (value.is_integral()) return Value::integer(value.as_int());
  if (value.is_string()) {
    const std::int64_t base = call.integer(1, 10);
    if (base >= 0 && base <= 36) {
      if (const auto parsed = parse_integer(runtime, value.bytes(), static_cast<int>(base)))
        return Value::integer(*parsed);
    }
    const auto number = parse_float(value.bytes());
    if (!number) return otherwise;
    const auto truncated = truncate_float(runtime, *number);
    return truncated ? Value::integer(*truncated) : otherwise;
  }
  if (!value.is(Kind::Float)) return otherwise;
  const auto truncated = truncate_float(runtime, value.as_float());
  if (!truncated && std::isinf(value.as_float())) call.fail("infinity is no integer");
  return truncated ? Value::integer(*truncated) : otherwise;
}

Value to_float(NativeCall& call) {
  const Value& value = call.self();
  require_defined(call.runtime(), value);
  if (value.is_number()) return Value::number(value.to_double());
  if (value.is_string())
    if (const auto parsed = parse_float(value.bytes())) return Value::number(*parsed);
  return call.value(0, Value::number(0));
}

// Correctly rounded: by way of the decimal digits, half to even where the double is exact.
double round_decimal(double value, std::int64_t digits) {
  if (!std::isfinite(value) || digits > 400) return value;
  if (digits >= 0) {
    const std::string text = format_float(value, 'f', static_cast<int>(digits), false);
    return parse_float(text).value_or(value);
  }
  if (digits < -400) return std::copysign(0.0, value);
  const double scale = std::pow(10.0, static_cast<double>(-digits));
  return std::nearbyint(value / scale) * scale;
}

Value round_integer(NativeCall& call, std::int64_t value, std::int64_t digits) {
  if (digits >= 0) return Value::integer(value);
  if (digits < -18) return Value::integer(0);
  std::int64_t scale = 1;
  for (std::int64_t i = digits; i < 0; ++i) scale *= 10;
  std::int64_t rest = value % scale;
  std::int64_t result = value - rest;
  if (rest < 0) {
    rest += scale;
    if (__builtin_sub_overflow(result, scale, &result)) call.fail("the number is too large");
  }
  const bool odd = (result / scale) % 2 != 0;
  const std::int64_t half = scale / 2;
  if (rest > half || (rest == half && odd))
    if (__builtin_add_overflow(result, scale, &result)) call.fail("the number is too large");
  return Value::integer(result);
}

Value round(NativeCall& call) {
  const Value& value = call.self();
  require_defined(call.runtime(), value);
  const std::int64_t digits = call.integer(0, 0);
  const std::string method = call.given(1) ? call.text(1).bytes : "common";
  if (method != "common" && method != "ceil" && method != "floor")
    call.fail("rounds 'common', 'ceil' or 'floor'");
  if (!value.is_number()) call.fail("needs a number");
  if (method == "common") {
    return value.is_integral() ? round_integer(call, value.as_int(), digits)
                               : Value::number(round_decimal(value.as_float(), digits));
  }
  const double scale = std::pow(10.0, static_cast<double>(digits));
  const double scaled = value.to_double() * scale;
  if (!std::isfinite(scaled)) call.fail("the number is not finite");
  return Value::number((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale);
}

Value file_size(NativeCall& call) {
  const Value& self = call.self();
  require_defined(call.runtime(), self);
  double bytes = 0;
  if (self.is_number()) {
    bytes = self.to_double();
  } else if (const auto parsed = self.is_string() ? parse_float(self.bytes()) : std::nullopt) {
    bytes = *parsed;
  } else {
    call.fail("needs a number");
  }
  const bool binary_units = call.flag(0, false);
  const double base = binary_units ? 1024 : 1000;
  if (bytes == 1) return call.runtime().string(std::string("1 Byte"));
  if (bytes < base)
    return call.runtime().string(format_float(std::trunc(bytes), 'f', 0, false) + " Bytes");
  static constexpr std::string_view kPrefixes = "kMGTPEZY";
  double unit = base;
  std::size_t i = 0;
  for (; i + 1 < kPrefixes.size() && bytes >= unit * base; ++i) unit *= base;
  const char prefix = binary_units && i == 0 ? 'K' : kPrefixes[i];
  return call.runtime().string(format_float(bytes / unit, 'f', 1, false) + " " + prefix +
                               (binary_units ? "iB" : "B"));
}

Value to_json_text(NativeCall& call) {
  JsonStyle style;
  style.ensure_ascii = call.flag(0, false);
  if (call.given_and_not_none(1)) {
    if (call[1].is_string()) {
      style.indent = call[1].text().bytes;
    } else {
      const std::int64_t width = std::max<std::int64_t>(0, call.integer(1));
      call.runtime().charge(static_cast<std::size_t>(width));
      style.indent = std::string(static_cast<std::size_t>(width), ' ');
    }
    style.item_separator = ",";
  }
  if (call.given_and_not_none(2)) {
    const Value& separators = call[2];
    if (!separators.is_sequence() || separators.items().size() != 2 ||
        !separators.items()[0].is_string() || !separators.items()[1].is_string())
      call.fail("separators have to be two strings");
    style.item_separator = separators.items()[0].text().bytes;
    style.key_separator = separators.items()[1].text().bytes;
  }
  style.sort_keys = call.flag(3, false);
  return call.runtime().string(to_json(call.runtime(), call.self(), style));
}

Value pretty(NativeCall& call) {
  return call.runtime().string(repr(call.runtime(), call.self()));
}

// clang-format off
constexpr std::array kValueFilters = {
    NativeRow{"abs", absolute, ""},
    NativeRow{"default", default_value, "default_value? boolean?"},
    NativeRow{"d", default_value, "default_value? boolean?"},
    NativeRow{"attr", attribute, "name"},
    NativeRow{"int", to_int, "default? base?"},
    NativeRow{"float", to_float, "default?"},
    NativeRow{"round", round, "precision? method?"},
    NativeRow{"filesizeformat", file_size, "binary?"},
    NativeRow{"tojson", to_json_text, "ensure_ascii? indent? separators? sort_keys?"},
    NativeRow{"pprint", pretty, ""},
};
// clang-format on

}  // namespace

std::span<const NativeRow> value_filters() {
  return kValueFilters;
}

}  // namespace krasis::jinja
