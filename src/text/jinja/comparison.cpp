// Truth, equality, order, membership, length.
#include <algorithm>
#include <string>
#include <vector>

#include "text/jinja/iteration.h"
#include "text/jinja/operators.h"

namespace krasis::jinja {
namespace {

bool equal_sequences(Runtime& runtime, const Value& a, const Value& b) {
  if (&a.sequence() == &b.sequence()) return true;
  if (a.items().size() != b.items().size()) return false;
  for (std::size_t i = 0; i < a.items().size(); ++i)
    if (!equal(runtime, a.items()[i], b.items()[i])) return false;
  return true;
}

bool equal_dicts(Runtime& runtime, const Dict& a, const Dict& b) {
  if (&a == &b) return true;
  if (a.size() != b.size()) return false;
  return std::all_of(a.entries().begin(), a.entries().end(), [&](const Dict::Entry& entry) {
    const Value* other = b.find(entry.key);
    return other != nullptr && equal(runtime, entry.value, *other);
  });
}

bool equal_objects(const Object& a, const Object& b) {
  if (&a == &b) return true;
  if (a.kind() != ObjectKind::Range || b.kind() != ObjectKind::Range) return false;
  const auto& left = static_cast<const Range&>(a);
  const auto& right = static_cast<const Range&>(b);
  if (left.size() != right.size()) return false;
  if (left.size() == 0) return true;
  return left.start() == right.start() && (left.size() == 1 || left.step() == right.step());
}

[[noreturn]] void fail_order(Runtime& runtime, const Value& a, const Value& b) {
  runtime.fail(std::string("cannot order a value of type ") + type_name(a) + " and one of type " +
               type_name(b));
}

// -1, 0, 1; 2 where a NaN has no order.
int order(Runtime& runtime, const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    // 64 bits of mantissa hold every integer and every double exactly.
    const auto exact = [](const Value& v) {
      return v.is(Kind::Float) ? static_cast<long double>(v.as_float())
                               : static_cast<long double>(v.as_int());
    };
    const long double left = exact(a);
    const long double right = exact(b);
    return left < right ? -1 : left > right ? 1 : left == right ? 0 : 2;
  }
  require_defined(runtime, a);
  require_defined(runtime, b);
  // The order of UTF-8 bytes is the order of code points.
  if (a.is_string() && b.is_string()) return std::clamp(a.bytes().compare(b.bytes()), -1, 1);
  if (!a.is_sequence() || a.kind() != b.kind()) fail_order(runtime, a, b);
  const Runtime::Nested nested(runtime);
  const std::size_t common = std::min(a.items().size(), b.items().size());
  for (std::size_t i = 0; i < common; ++i) {
    runtime.step();
    if (!equal(runtime, a.items()[i], b.items()[i]))
      return order(runtime, a.items()[i], b.items()[i]);
  }
  return a.items().size() < b.items().size() ? -1 : a.items().size() > b.items().size() ? 1 : 0;
}

bool contains_in_object(Runtime& runtime, const Value& container, const Value& item) {
  if (container.object().kind() == ObjectKind::DictView) {
    const auto& view = static_cast<const DictView&>(container.object());
    if (view.part() == DictPart::Keys) return view.dict().find(item) != nullptr;
  }
  Iterator& iterator = iterate(runtime, container);
  for (Value candidate; iterator.next(runtime, candidate);) {
    runtime.step();
    if (equal(runtime, candidate, item)) return true;
  }
  return false;
}

}  // namespace

void require_defined(Runtime& runtime, const Value& value) {
  if (value.is_undefined()) runtime.fail(value.undefined_message());
}

bool truth(Runtime&, const Value& value) {
  switch (value.kind()) {
    case Kind::Missing:
    case Kind::Undefined:
    case Kind::None:
      return false;
    case Kind::Bool:
    case Kind::Int:
      return value.as_int() != 0;
    case Kind::Float:
      return value.as_float() != 0;
    case Kind::String:
      return !value.bytes().empty();
    case Kind::List:
    case Kind::Tuple:
      return !value.items().empty();
    case Kind::Dict:
      return value.dict().size() != 0;
    case Kind::Object:
      switch (value.object().kind()) {
        case ObjectKind::Range:
          return static_cast<const Range&>(value.object()).size() != 0;
        case ObjectKind::DictView:
          return static_cast<const DictView&>(value.object()).dict().size() != 0;
        default:
          return true;
      }
  }
  return false;
}

bool equal(Runtime& runtime, const Value& a, const Value& b) {
  runtime.step();
  if (a.is_string()) runtime.step_over(a.bytes());
  if (a.kind() != b.kind() || (!a.is_sequence() && !a.is(Kind::Dict) && !a.is(Kind::Object)))
    return equal_keys(a, b);
  const Runtime::Nested nested(runtime);
  if (a.is_sequence()) return equal_sequences(runtime, a, b);
  if (a.is(Kind::Dict)) return equal_dicts(runtime, a.dict(), b.dict());
  return equal_objects(a.object(), b.object());
}

bool less(Runtime& runtime, const Value& a, const Value& b) {
  runtime.step();
  if (a.is_string()) runtime.step_over(a.bytes());
  return order(runtime, a, b) == -1;
}

bool compare(Runtime& runtime, Comparison op, const Value& a, const Value& b) {
  switch (op) {
    case Comparison::Equal:
      return equal(runtime, a, b);
    case Comparison::NotEqual:
      return !equal(runtime, a, b);
    case Comparison::In:
      return contains(runtime, b, a);
    case Comparison::NotIn:
      return !contains(runtime, b, a);
    default:
      break;
  }
  const int sign = order(runtime, a, b);
  switch (op) {
    case Comparison::Less:
      return sign == -1;
    case Comparison::LessEqual:
      return sign == -1 || sign == 0;
    case Comparison::Greater:
      return sign == 1;
    default:
      return sign == 1 || sign == 0;
  }
}

bool contains(Runtime& runtime, const Value& container, const Value& item) {
  switch (container.kind()) {
    case Kind::String:
      if (!item.is_string()) {
        runtime.fail(std::string("'in' a string needs a string, not a value of type ") +
                     type_name(item));
      }
      runtime.step_over(container.bytes());
      runtime.step_over(item.bytes());
      return container.bytes().find(item.bytes()) != std::string_view::npos;
    case Kind::Dict:
      if (!hashable(item))
        runtime.fail(std::string("a value of type ") + type_name(item) + " cannot be a dict key");
      return container.dict().find(item) != nullptr;
    case Kind::List:
    case Kind::Tuple:
      return std::any_of(container.items().begin(), container.items().end(),
                         [&](const Value& each) { return equal(runtime, each, item); });
    case Kind::Undefined:
      return false;
    case Kind::Object:
      return contains_in_object(runtime, container, item);
    default:
      runtime.fail(std::string("'in' cannot look into a value of type ") + type_name(container));
  }
}

std::optional<std::size_t> length(Runtime& runtime, const Value& value) {
  switch (value.kind()) {
    case Kind::Undefined:
      return 0;
    case Kind::String:
      return value.text().length;
    case Kind::List:
    case Kind::Tuple:
      return value.items().size();
    case Kind::Dict:
      return value.dict().size();
    case Kind::Object:
      return value.object().length(runtime);
    default:
      return std::nullopt;
  }
}

}  // namespace krasis::jinja
