// Methods of lists, tuples, dicts and integers.
#include <algorithm>
#include <bit>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/iteration.h"
#include "text/jinja/methods.h"
#include "text/jinja/operators.h"
#include "text/jinja/sorting.h"

namespace krasis::jinja {
namespace {

std::vector<Value>& items(NativeCall& call) {
  return call.self().sequence().items;
}

void grow(NativeCall& call, std::size_t count) {
  call.runtime().charge(count * 2 * sizeof(Value));
}

Value append(NativeCall& call) {
  grow(call, 1);
  items(call).push_back(call[0]);
  return Value::none();
}

Value extend(NativeCall& call) {
  std::vector<Value> more = collect(call.runtime(), call[0]);
  grow(call, more.size());
  std::vector<Value>& list = items(call);
  list.insert(list.end(), more.begin(), more.end());
  return Value::none();
}

Value insert(NativeCall& call) {
  std::vector<Value>& list = items(call);
  const auto size = static_cast<std::int64_t>(list.size());
  std::int64_t at = call.integer(0);
  if (at < 0) at = std::max<std::int64_t>(0, at + size);
  grow(call, 1);
  call.runtime().step(list.size() / 16);
  list.insert(list.begin() + static_cast<std::ptrdiff_t>(std::min(at, size)), call[1]);
  return Value::none();
}

Value pop(NativeCall& call) {
  std::vector<Value>& list = items(call);
  const auto size = static_cast<std::int64_t>(list.size());
  std::int64_t at = call.integer(0, -1);
  if (at < 0) at += size;
  if (at < 0 || at >= size) call.fail("the list has no such item");
  const auto place = list.begin() + static_cast<std::ptrdiff_t>(at);
  Value result = *place;
  call.runtime().step(static_cast<std::uint64_t>(size - at) / 16);
  list.erase(place);
  return result;
}

// The position of the argument among the items, or their number.
std::size_t position(NativeCall& call) {
  const std::vector<Value>& list = items(call);
  std::size_t i = 0;
  while (i < list.size() && !equal(call.runtime(), list[i], call[0])) ++i;
  return i;
}

Value remove(NativeCall& call) {
  const std::size_t at = position(call);
  if (at == items(call).size()) call.fail("the item is not in the list");
  items(call).erase(items(call).begin() + static_cast<std::ptrdiff_t>(at));
  return Value::none();
}

Value index(NativeCall& call) {
  const std::vector<Value>& list = items(call);
  const auto size = static_cast<std::int64_t>(list.size());
  const auto bound = [&](std::size_t i, std::int64_t otherwise) {
    const std::int64_t given = call.integer(i, otherwise);
    return std::clamp<std::int64_t>(given < 0 ? given + size : given, 0, size);
  };
  const std::int64_t end = bound(2, size);
  for (std::int64_t i = bound(1, 0); i < end; ++i)
    if (equal(call.runtime(), list[static_cast<std::size_t>(i)], call[0])) return Value::integer(i);
  call.fail("the item is not there");
}

Value count(NativeCall& call) {
  const std::vector<Value>& list = items(call);
  return Value::integer(std::count_if(list.begin(), list.end(), [&](const Value& item) {
    return equal(call.runtime(), item, call[0]);
  }));
}

Value reverse(NativeCall& call) {
  call.runtime().step(items(call).size());
  std::reverse(items(call).begin(), items(call).end());
  return Value::none();
}

Value sort(NativeCall& call) {
  Runtime& runtime = call.runtime();
  const bool reversed = call.flag(1, false);
  struct Keyed {
    Value key, item;
  };
  std::vector<Keyed> keyed;
  for (const Value& item : std::vector<Value>(items(call))) {
    keyed.push_back(
        {call.given_and_not_none(0) ? jinja::call(runtime, call[0], {{item}, {}}) : item, item});
  }
  merge_sort(keyed, [&](const Keyed& a, const Keyed& b) {
    return reversed ? less(runtime, b.key, a.key) : less(runtime, a.key, b.key);
  });
  std::vector<Value>& list = items(call);
  list.clear();
  for (Keyed& each : keyed) list.push_back(std::move(each.item));
  return Value::none();
}

Value clear_list(NativeCall& call) {
  items(call).clear();
  return Value::none();
}

Value copy_list(NativeCall& call) {
  return call.runtime().list(items(call));
}

Dict& dict(NativeCall& call) {
  return call.self().dict();
}

void store(NativeCall& call, const Value& key, const Value& value) {
  if (!hashable(key))
    call.fail(std::string("a value of type ") + type_name(key) + " cannot be a key");
  call.runtime().charge(sizeof(Dict::Entry) * 2);
  dict(call).set(key, value);
}

Value get(NativeCall& call) {
  if (!hashable(call[0]))
    call.fail(std::string("a value of type ") + type_name(call[0]) + " cannot be a key");
  const Value* found = dict(call).find(call[0]);
  return found != nullptr ? *found : call.value(1, Value::none());
}

template <DictPart Part>
Value view(NativeCall& call) {
  return Value::object(call.runtime().make<DictView>(&dict(call), Part));
}

Value pop_key(NativeCall& call) {
  const Value* found = dict(call).find(call[0]);
  if (found == nullptr) {
    if (!call.given(1)) call.fail("the dict has no key " + repr(call.runtime(), call[0]));
    return call[1];
  }
  Value result = *found;
  call.runtime().step(dict(call).size());
  dict(call).erase(call[0]);
  return result;
}

Value pop_item(NativeCall& call) {
  if (dict(call).size() == 0) call.fail("the dict is empty");
  const Dict::Entry last = dict(call).entries().back();
  call.runtime().step(dict(call).size());
  dict(call).erase(last.key);
  return call.runtime().tuple({last.key, last.value});
}

Value set_default(NativeCall& call) {
  if (const Value* found = dict(call).find(call[0])) return *found;
  store(call, call[0], call.value(1, Value::none()));
  return call.value(1, Value::none());
}

Value update(NativeCall& call) {
  const Arguments& arguments = call.arguments();
  if (arguments.positional.size() > 1) call.fail("takes one dict or list of pairs");
  for (const Value& source : arguments.positional) {
    if (source.is(Kind::Dict)) {
      const std::vector<Dict::Entry> entries = source.dict().entries();
      for (const Dict::Entry& entry : entries) store(call, entry.key, entry.value);
      continue;
    }
    for (const Value& pair : collect(call.runtime(), source)) {
      const std::vector<Value> parts = collect(call.runtime(), pair);
      if (parts.size() != 2) call.fail("needs pairs of a key and a value");
      store(call, parts[0], parts[1]);
    }
  }
  for (const auto& [name, value] : arguments.named) store(call, Value::string(name), value);
  return Value::none();
}

Value clear_dict(NativeCall& call) {
  dict(call).clear();
  return Value::none();
}

Value copy_dict(NativeCall& call) {
  Value result = call.runtime().dict();
  call.runtime().charge(dict(call).size() * sizeof(Dict::Entry));
  result.dict() = dict(call);
  return result;
}

Value bit_length(NativeCall& call) {
  const std::int64_t value = call.self().as_int();
  const auto magnitude =
      value < 0 ? 0 - static_cast<std::uint64_t>(value) : static_cast<std::uint64_t>(value);
  return Value::integer(static_cast<std::int64_t>(std::bit_width(magnitude)));
}

Value is_integer(NativeCall& call) {
  if (!call.self().is(Kind::Float)) return Value::boolean(true);
  return Value::boolean(std::isfinite(call.self().as_float()) &&
                        std::floor(call.self().as_float()) == call.self().as_float());
}

// clang-format off
constexpr std::array kListRows = {
    NativeRow{"append", append, "/ object"},
    NativeRow{"extend", extend, "/ iterable"},
    NativeRow{"insert", insert, "/ index object"},
    NativeRow{"pop", pop, "/ index?"},
    NativeRow{"remove", remove, "/ value"},
    NativeRow{"index", index, "/ value start? stop?"},
    NativeRow{"count", count, "/ value"},
    NativeRow{"reverse", reverse, ""},
    NativeRow{"sort", sort, "key? reverse?"},
    NativeRow{"clear", clear_list, ""},
    NativeRow{"copy", copy_list, ""},
};
constexpr std::array kTupleRows = {
    NativeRow{"index", index, "/ value start? stop?"},
    NativeRow{"count", count, "/ value"},
};
constexpr std::array kDictRows = {
    NativeRow{"get", get, "/ key default?"},
    NativeRow{"items", view<DictPart::Items>, ""},
    NativeRow{"keys", view<DictPart::Keys>, ""},
    NativeRow{"values", view<DictPart::Values>, ""},
    NativeRow{"pop", pop_key, "/ key default?"},
    NativeRow{"popitem", pop_item, ""},
    NativeRow{"setdefault", set_default, "/ key default?"},
    NativeRow{"update", update, "*"},
    NativeRow{"clear", clear_dict, ""},
    NativeRow{"copy", copy_dict, ""},
};
constexpr std::array kNumberRows = {
    NativeRow{"bit_length", bit_length, ""},
    NativeRow{"is_integer", is_integer, ""},
};
// clang-format on

}  // namespace

const NativeRow* find_list_method(std::string_view name) {
  return find_row(kListRows, name);
}
const NativeRow* find_tuple_method(std::string_view name) {
  return find_row(kTupleRows, name);
}
const NativeRow* find_dict_method(std::string_view name) {
  return find_row(kDictRows, name);
}
const NativeRow* find_number_method(std::string_view name) {
  return find_row(kNumberRows, name);
}

}  // namespace krasis::jinja
