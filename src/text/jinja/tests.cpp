// `is` tests.
#include <algorithm>
#include <string>

#include "text/jinja/iteration.h"
#include "text/jinja/methods.h"
#include "text/jinja/operators.h"
#include "text/jinja/unicode.h"

namespace krasis::jinja {
namespace {

template <Kind K>
Value has_kind(NativeCall& call) {
  return Value::boolean(call.self().is(K));
}

Value remainder_is(NativeCall& call, std::int64_t divisor, std::int64_t wanted) {
  const Value rest =
      binary(call.runtime(), BinaryOperator::Modulo, call.self(), Value::integer(divisor));
  return Value::boolean(equal(call.runtime(), rest, Value::integer(wanted)));
}

Value divisible(NativeCall& call) {
  const Value rest = binary(call.runtime(), BinaryOperator::Modulo, call.self(), call[0]);
  return Value::boolean(equal(call.runtime(), rest, Value::integer(0)));
}

Value is_true(NativeCall& call) {
  return Value::boolean(call.self().is(Kind::Bool) && call.self().as_bool());
}

Value is_false(NativeCall& call) {
  return Value::boolean(call.self().is(Kind::Bool) && !call.self().as_bool());
}

Value is_sequence(NativeCall& call) {
  const Value& value = call.self();
  const bool range = value.is(Kind::Object) && value.object().kind() == ObjectKind::Range;
  return Value::boolean(value.is_undefined() || value.is_string() || value.is_sequence() ||
                        value.is(Kind::Dict) || range);
}

template <bool (*Wanted)(char32_t), bool (*Refused)(char32_t)>
Value has_case(NativeCall& call) {
  const std::u32string text = decode(to_text(call.runtime(), call.self()));
  return Value::boolean(
      std::any_of(text.begin(), text.end(), Wanted) &&
      std::none_of(text.begin(), text.end(), [](char32_t c) { return Refused(c) || is_title(c); }));
}

Value is_callable(NativeCall& call) {
  const Value& value = call.self();
  return Value::boolean(value.is_undefined() ||
                        (value.is(Kind::Object) && value.object().callable()));
}

template <Comparison Op>
Value compares(NativeCall& call) {
  return Value::boolean(compare(call.runtime(), Op, call.self(), call[0]));
}

Value names_filter(NativeCall& call) {
  return Value::boolean(call.self().is_string() && find_filter(call.self().bytes()) != nullptr);
}

Value names_test(NativeCall& call) {
  return Value::boolean(call.self().is_string() && find_test(call.self().bytes()) != nullptr);
}

// clang-format off
constexpr std::array kTests = {
    NativeRow{"defined", [](NativeCall& c) { return Value::boolean(!c.self().is_undefined()); }, ""},
    NativeRow{"undefined", has_kind<Kind::Undefined>, ""},
    NativeRow{"none", has_kind<Kind::None>, ""},
    NativeRow{"string", has_kind<Kind::String>, ""},
    NativeRow{"mapping", has_kind<Kind::Dict>, ""},
    NativeRow{"boolean", has_kind<Kind::Bool>, ""},
    NativeRow{"integer", has_kind<Kind::Int>, ""},
    NativeRow{"float", has_kind<Kind::Float>, ""},
    NativeRow{"number", [](NativeCall& c) { return Value::boolean(c.self().is_number()); }, ""},
    NativeRow{"true", is_true, ""},
    NativeRow{"false", is_false, ""},
    NativeRow{"iterable", [](NativeCall& c) { return Value::boolean(is_iterable(c.self())); }, ""},
    NativeRow{"sequence", is_sequence, ""},
    NativeRow{"callable", is_callable, ""},
    NativeRow{"odd", [](NativeCall& c) { return remainder_is(c, 2, 1); }, ""},
    NativeRow{"even", [](NativeCall& c) { return remainder_is(c, 2, 0); }, ""},
    NativeRow{"divisibleby", divisible, "num"},
    NativeRow{"lower", has_case<is_lower, is_upper>, ""},
    NativeRow{"upper", has_case<is_upper, is_lower>, ""},
    NativeRow{"sameas", [](NativeCall& c) { return Value::boolean(c.self().same_object(c[0])); }, "other"},
    NativeRow{"escaped", [](NativeCall& c) { return Value::boolean(c.self().is_string() && c.self().text().markup); }, ""},
    NativeRow{"filter", names_filter, ""},
    NativeRow{"test", names_test, ""},
    NativeRow{"in", [](NativeCall& c) { return Value::boolean(contains(c.runtime(), c[0], c.self())); }, "seq"},
    NativeRow{"==", compares<Comparison::Equal>, "/ other"},
    NativeRow{"eq", compares<Comparison::Equal>, "/ other"},
    NativeRow{"equalto", compares<Comparison::Equal>, "/ other"},
    NativeRow{"!=", compares<Comparison::NotEqual>, "/ other"},
    NativeRow{"ne", compares<Comparison::NotEqual>, "/ other"},
    NativeRow{"<", compares<Comparison::Less>, "/ other"},
    NativeRow{"lt", compares<Comparison::Less>, "/ other"},
    NativeRow{"lessthan", compares<Comparison::Less>, "/ other"},
    NativeRow{"<=", compares<Comparison::LessEqual>, "/ other"},
    NativeRow{"le", compares<Comparison::LessEqual>, "/ other"},
    NativeRow{">", compares<Comparison::Greater>, "/ other"},
    NativeRow{"gt", compares<Comparison::Greater>, "/ other"},
    NativeRow{"greaterthan", compares<Comparison::Greater>, "/ other"},
    NativeRow{">=", compares<Comparison::GreaterEqual>, "/ other"},
    NativeRow{"ge", compares<Comparison::GreaterEqual>, "/ other"},
};
// clang-format on

}  // namespace

const NativeRow* find_test(std::string_view name) {
  return find_row(kTests, name);
}

}  // namespace krasis::jinja
