// + - * / // % ** on template values.
#include <cmath>
#include <utility>
#include <vector>

#include "text/jinja/format.h"
#include "text/jinja/operators.h"

namespace krasis::jinja {
namespace {

const char* symbol(BinaryOperator op) {
  switch (op) {
    case BinaryOperator::Add:
      return "+";
    case BinaryOperator::Subtract:
      return "-";
    case BinaryOperator::Multiply:
      return "*";
    case BinaryOperator::Divide:
      return "/";
    case BinaryOperator::FloorDivide:
      return "//";
    case BinaryOperator::Modulo:
      return "%";
    case BinaryOperator::Power:
      return "**";
  }
  return "?";
}

[[noreturn]] void fail_types(Runtime& runtime, BinaryOperator op, const Value& a, const Value& b) {
  runtime.fail(std::string("cannot compute ") + type_name(a) + " " + symbol(op) + " " +
               type_name(b));
}

[[noreturn]] void fail_overflow(Runtime& runtime, BinaryOperator op) {
  runtime.fail(std::string("the integer result of ") + symbol(op) + " does not fit into 64 bits");
}

std::int64_t floor_divide(std::int64_t a, std::int64_t b) {
  const std::int64_t quotient = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}

double floor_modulo(double a, double b) {
  double remainder = std::fmod(a, b);
  if (remainder == 0) return std::copysign(0.0, b);
  if ((remainder < 0) != (b < 0)) remainder += b;
  return remainder;
}

double floor_divide(double a, double b) {
  const double quotient = (a - floor_modulo(a, b)) / b;
  const double floored = std::floor(quotient);
  return quotient - floored > 0.5 ? floored + 1 : floored;
}

Value power_integers(Runtime& runtime, std::int64_t base, std::int64_t exponent) {
  if (exponent < 0) {
    if (base == 0) runtime.fail("zero cannot be raised to a negative power");
    return Value::number(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  std::int64_t result = 1;
  while (exponent > 0) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result))
      fail_overflow(runtime, BinaryOperator::Power);
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base))
      fail_overflow(runtime, BinaryOperator::Power);
  }
  return Value::integer(result);
}

Value integers(Runtime& runtime, BinaryOperator op, std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  bool overflow = false;
  switch (op) {
    case BinaryOperator::Add:
      overflow = __builtin_add_overflow(a, b, &result);
      break;
    case BinaryOperator::Subtract:
      overflow = __builtin_sub_overflow(a, b, &result);
      break;
    case BinaryOperator::Multiply:
      overflow = __builtin_mul_overflow(a, b, &result);
      break;
    case BinaryOperator::Power:
      return power_integers(runtime, a, b);
    default:
      if (b == 0) runtime.fail("division by zero");
      if (op == BinaryOperator::Divide) {
        return Value::number(
            static_cast<double>(static_cast<long double>(a) / static_cast<long double>(b)));
      }
      overflow = b == -1 && a == INT64_MIN && op == BinaryOperator::FloorDivide;
      if (b == -1) {
        result = op == BinaryOperator::Modulo || overflow ? 0 : -a;
      } else {
        result = floor_divide(a, b);
        if (op == BinaryOperator::Modulo) result = a - result * b;
      }
  }
  if (overflow) fail_overflow(runtime, op);
  return Value::integer(result);
}

Value floats(Runtime& runtime, BinaryOperator op, double a, double b) {
  switch (op) {
    case BinaryOperator::Add:
      return Value::number(a + b);
    case BinaryOperator::Subtract:
      return Value::number(a - b);
    case BinaryOperator::Multiply:
      return Value::number(a * b);
    case BinaryOperator::Power: {
      if (a == 0 && b < 0) runtime.fail("zero cannot be raised to a negative power");
      if (a < 0 && std::floor(b) != b && std::isfinite(a) && std::isfinite(b))
        runtime.fail("a negative number to a broken power is not a real number");
      const double result = std::pow(a, b);
      if (std::isinf(result) && std::isfinite(a) && std::isfinite(b))
        runtime.fail("the result of ** is out of range");
      return Value::number(result);
    }
    default:
      if (b == 0) runtime.fail("division by zero");
      if (op == BinaryOperator::Divide) return Value::number(a / b);
      return Value::number(op == BinaryOperator::Modulo ? floor_modulo(a, b) : floor_divide(a, b));
  }
}

// The operand as a string fits into one that `safe` or `escape` made.
std::string escaped(const Value& value) {
  return value.text().markup ? value.text().bytes : escape_html(value.bytes());
}

Value add_strings(Runtime& runtime, const Value& a, const Value& b) {
  if (a.text().markup || b.text().markup) {
    const std::string left = escaped(a);
    return runtime.string(left + escaped(b), true);
  }
  runtime.charge(a.bytes().size() + b.bytes().size());
  std::string result;
  result.reserve(a.bytes().size() + b.bytes().size());
  return runtime.string(result.append(a.bytes()).append(b.bytes()));
}

Value add_sequences(Runtime& runtime, const Value& a, const Value& b) {
  runtime.step(a.items().size() + b.items().size());
  runtime.charge((a.items().size() + b.items().size()) * sizeof(Value));
  std::vector<Value> items = a.items();
  items.insert(items.end(), b.items().begin(), b.items().end());
  return a.is(Kind::List) ? runtime.list(std::move(items)) : runtime.tuple(std::move(items));
}

Value repeat(Runtime& runtime, const Value& value, std::int64_t count) {
  const std::size_t times = count > 0 ? static_cast<std::size_t>(count) : 0;
  if (value.is_string()) {
    runtime.charge_repeated(value.bytes().size(), times);
    std::string result;
    result.reserve(value.bytes().size() * times);
    if (!value.bytes().empty())
      for (std::size_t i = 0; i < times; ++i) result.append(value.bytes());
    return runtime.string(std::move(result), value.text().markup);
  }
  const std::vector<Value>& items = value.items();
  runtime.charge_repeated(items.size() * sizeof(Value), times);
  std::vector<Value> result;
  result.reserve(items.size() * times);
  if (!items.empty()) {
    for (std::size_t i = 0; i < times; ++i)
      for (const Value& item : items) result.push_back(item);
  }
  return value.is(Kind::List) ? runtime.list(std::move(result)) : runtime.tuple(std::move(result));
}

}  // namespace

Value binary(Runtime& runtime, BinaryOperator op, const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral()) return integers(runtime, op, a.as_int(), b.as_int());
  if (a.is_number() && b.is_number()) return floats(runtime, op, a.to_double(), b.to_double());
  if (a.is_string() && op == BinaryOperator::Modulo) return format_percent(runtime, a.text(), b);
  require_defined(runtime, a);
  require_defined(runtime, b);
  if (op == BinaryOperator::Add) {
    if (a.is_string() && b.is_string()) return add_strings(runtime, a, b);
    if (a.is_sequence() && a.kind() == b.kind()) return add_sequences(runtime, a, b);
  }
  if (op == BinaryOperator::Multiply) {
    if ((a.is_string() || a.is_sequence()) && b.is_integral())
      return repeat(runtime, a, b.as_int());
    if ((b.is_string() || b.is_sequence()) && a.is_integral())
      return repeat(runtime, b, a.as_int());
  }
  fail_types(runtime, op, a, b);
}

Value negate(Runtime& runtime, const Value& value) {
  require_defined(runtime, value);
  if (value.is_integral()) return integers(runtime, BinaryOperator::Subtract, 0, value.as_int());
  if (value.is(Kind::Float)) return Value::number(-value.as_float());
  runtime.fail(std::string("cannot negate a value of type ") + type_name(value));
}

Value positive(Runtime& runtime, const Value& value) {
  require_defined(runtime, value);
  if (value.is_integral()) return Value::integer(value.as_int());
  if (value.is(Kind::Float)) return value;
  runtime.fail(std::string("cannot apply + to a value of type ") + type_name(value));
}

}  // namespace krasis::jinja
