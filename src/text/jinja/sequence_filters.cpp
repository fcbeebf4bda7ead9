// Filters over the items of a value.
#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/iteration.h"
#include "text/jinja/methods.h"
#include "text/jinja/operators.h"
#include "text/jinja/sorting.h"
#include "text/jinja/unicode.h"

namespace krasis::jinja {
namespace {

Value fold(NativeCall& call, const Value& value, bool case_sensitive) {
  return value.is_string() && !case_sensitive ? call.runtime().string(to_lower(value.bytes()))
                                              : value;
}

// The value that items are compared by: an attribute path, strings in lower case unless asked.
Value key_of(NativeCall& call, const Value& item, const Value& attribute, bool case_sensitive) {
  return fold(call, get_path(call.runtime(), item, attribute), case_sensitive);
}

Value length_of(NativeCall& call) {
  const auto result = length(call.runtime(), call.self());
  if (!result)
    call.fail(std::string("a value of type ") + type_name(call.self()) + " has no length");
  return Value::integer(static_cast<std::int64_t>(*result));
}

Value list(NativeCall& call) {
  return call.runtime().list(collect(call.runtime(), call.self()));
}

Value first(NativeCall& call) {
  Value item;
  if (iterate(call.runtime(), call.self()).next(call.runtime(), item)) return item;
  return Value::undefined_hint("'first' of nothing");
}

void require_reversible(NativeCall& call) {
  const Value& value = call.self();
  if (value.is(Kind::Object) && value.object().kind() == ObjectKind::Iterator)
    call.fail("needs a list, not a generator: put |list before it");
}

Value last(NativeCall& call) {
  require_reversible(call);
  std::vector<Value> items = collect(call.runtime(), call.self());
  return items.empty() ? Value::undefined_hint("'last' of nothing") : items.back();
}

Value reverse(NativeCall& call) {
  if (call.self().is_string()) {
    std::u32string text = decode(call.self().bytes());
    std::reverse(text.begin(), text.end());
    return call.runtime().string(encode(text), call.self().text().markup);
  }
  const bool one_way =
      call.self().is(Kind::Object) && call.self().object().kind() == ObjectKind::Iterator;
  std::vector<Value> items = collect(call.runtime(), call.self());
  std::reverse(items.begin(), items.end());
  return one_way ? call.runtime().list(std::move(items))
                 : generator(call.runtime(), std::move(items));
}

Value join(NativeCall& call) {
  Runtime& runtime = call.runtime();
  const std::string separator = call.given(0) ? to_text(runtime, call[0]) : "";
  std::string result;
  bool is_first = true;
  for (const Value& item : collect(runtime, call.self())) {
    const std::string text =
        to_text(runtime, call.given_and_not_none(1) ? get_path(runtime, item, call[1]) : item);
    runtime.charge(separator.size() + text.size());
    if (!is_first) result += separator;
    is_first = false;
    result += text;
  }
  return runtime.string(std::move(result));
}

struct Keyed {
  std::vector<Value> keys;
  Value item;
};

bool keys_less(Runtime& runtime, const Keyed& a, const Keyed& b) {
  for (std::size_t i = 0; i < a.keys.size(); ++i)
    if (!equal(runtime, a.keys[i], b.keys[i])) return less(runtime, a.keys[i], b.keys[i]);
  return false;
}

// The items with their keys by each of the attributes, in order.
std::vector<Keyed> sorted(NativeCall& call, std::vector<Value> items,
                          const std::vector<Value>& attributes, bool case_sensitive,
                          bool reversed) {
  std::vector<Keyed> keyed;
  for (Value& item : items) {
    Keyed entry;
    for (const Value& attribute : attributes)
      entry.keys.push_back(key_of(call, item, attribute, case_sensitive));
    entry.item = std::move(item);
    keyed.push_back(std::move(entry));
  }
  merge_sort(keyed, [&](const Keyed& a, const Keyed& b) {
    return reversed ? keys_less(call.runtime(), b, a) : keys_less(call.runtime(), a, b);
  });
  return keyed;
}

std::vector<Value> split_attributes(NativeCall& call, const Value& attribute) {
  if (!attribute.is_string()) return {attribute};
  std::vector<Value> result;
  std::string_view rest = attribute.bytes();
  for (std::size_t comma; (comma = rest.find(',')) != rest.npos; rest.remove_prefix(comma + 1))
    result.push_back(call.runtime().string(rest.substr(0, comma)));
  result.push_back(call.runtime().string(rest));
  return result;
}

Value sort(NativeCall& call) {
  const std::vector<Value> attributes = split_attributes(call, call.value(2, Value::none()));
  std::vector<Value> result;
  for (Keyed& each : sorted(call, collect(call.runtime(), call.self()), attributes,
                            call.flag(1, false), call.flag(0, false)))
    result.push_back(std::move(each.item));
  return call.runtime().list(std::move(result));
}

Value dict_sort(NativeCall& call) {
  Runtime& runtime = call.runtime();
  require_defined(runtime, call.self());
  if (!call.self().is(Kind::Dict)) call.fail("needs a dict");
  std::int64_t by = 0;
  if (call.given(1)) {
    const std::string& name = call.text(1).bytes;
    if (name != "key" && name != "value") call.fail("sorts by 'key' or 'value'");
    by = name == "key" ? 0 : 1;
  }
  std::vector<Value> pairs;
  for (const Dict::Entry& entry : call.self().dict().entries())
    pairs.push_back(runtime.tuple({entry.key, entry.value}));
  std::vector<Value> result;
  for (Keyed& each : sorted(call, std::move(pairs), {Value::integer(by)}, call.flag(0, false),
                            call.flag(2, false)))
    result.push_back(std::move(each.item));
  return runtime.list(std::move(result));
}

// Generators' items are seen lazily, but a dict of what was seen needs them all the same.
Value unique(NativeCall& call) {
  Runtime& runtime = call.runtime();
  Dict seen;
  std::vector<Value> result;
  for (const Value& item : collect(runtime, call.self())) {
    const Value key = key_of(call, item, call.value(1, Value::none()), call.flag(0, false));
    if (!hashable(key))
      call.fail(std::string("values of type ") + type_name(key) + " have no hash");
    if (seen.find(key) != nullptr) continue;
    seen.set(key, Value::none());
    result.push_back(item);
  }
  return generator(runtime, std::move(result));
}

Value extreme(NativeCall& call, bool largest) {
  Runtime& runtime = call.runtime();
  std::optional<std::pair<Value, Value>> best;  // key, item
  for (const Value& item : collect(runtime, call.self())) {
    Value key = key_of(call, item, call.value(1, Value::none()), call.flag(0, false));
    if (!best || (largest ? less(runtime, best->first, key) : less(runtime, key, best->first)))
      best.emplace(std::move(key), item);
  }
  return best ? best->second : Value::undefined_hint("'min' or 'max' of nothing");
}

Value sum(NativeCall& call) {
  Value total = call.value(1, Value::integer(0));
  if (total.is_string()) call.fail("cannot sum strings, use join");
  for (const Value& item : collect(call.runtime(), call.self())) {
    total = binary(call.runtime(), BinaryOperator::Add, total,
                   get_path(call.runtime(), item, call.value(0, Value::none())));
  }
  return total;
}

Value slice(NativeCall& call) {
  Runtime& runtime = call.runtime();
  const std::vector<Value> items = collect(runtime, call.self());
  const std::int64_t given = call.integer(0);
  if (given == 0) call.fail("the number of slices is zero");
  std::vector<Value> result;
  if (given < 0) return generator(runtime, std::move(result));
  runtime.step(static_cast<std::uint64_t>(given));
  const auto slices = static_cast<std::size_t>(given);
  const std::size_t each = items.size() / slices;
  const std::size_t longer = items.size() % slices;
  auto from = items.begin();
  for (std::size_t i = 0; i < slices; ++i) {
    const auto to = from + static_cast<std::ptrdiff_t>(each + (i < longer ? 1 : 0));
    std::vector<Value> part(from, to);
    if (call.given_and_not_none(1) && i >= longer) part.push_back(call[1]);
    result.push_back(runtime.list(std::move(part)));
    from = to;
  }
  return generator(runtime, std::move(result));
}

Value batch(NativeCall& call) {
  Runtime& runtime = call.runtime();
  const std::int64_t size = call.integer(0);
  std::vector<Value> result;
  std::vector<Value> part;
  for (const Value& item : collect(runtime, call.self())) {
    if (static_cast<std::int64_t>(part.size()) == size)
      result.push_back(runtime.list(std::exchange(part, {})));
    part.push_back(item);
  }
  if (!part.empty()) {
    if (call.given_and_not_none(1)) {
      const std::int64_t missing = size - static_cast<std::int64_t>(part.size());
      runtime.charge_repeated(sizeof(Value),
                              static_cast<std::size_t>(std::max<std::int64_t>(0, missing)));
      for (std::int64_t i = 0; i < missing; ++i) part.push_back(call[1]);
    }
    result.push_back(runtime.list(std::move(part)));
  }
  return generator(runtime, std::move(result));
}

Value group_by(NativeCall& call) {
  Runtime& runtime = call.runtime();
  const bool case_sensitive = call.flag(2, false);
  std::vector<Keyed> keyed;
  for (const Value& item : collect(runtime, call.self())) {
    Value key = get_path(runtime, item, call[0]);
    if (key.is_undefined() && call.given_and_not_none(1)) key = call[1];
    // The lower-case key orders and groups, the first real one names the group.
    keyed.push_back({{fold(call, key, case_sensitive), key}, item});
  }
  merge_sort(keyed,
             [&](const Keyed& a, const Keyed& b) { return less(runtime, a.keys[0], b.keys[0]); });
  std::vector<Value> groups;
  for (std::size_t i = 0; i < keyed.size();) {
    std::vector<Value> members;
    const std::size_t begin = i;
    for (; i < keyed.size() && equal(runtime, keyed[i].keys[0], keyed[begin].keys[0]); ++i)
      members.push_back(keyed[i].item);
    if (i == begin) call.fail("a key does not equal itself");
    const Value group = runtime.tuple({keyed[begin].keys[1], runtime.list(std::move(members))});
    group.sequence().group = true;
    groups.push_back(group);
  }
  return runtime.list(std::move(groups));
}

Value items(NativeCall& call) {
  Runtime& runtime = call.runtime();
  if (call.self().is_undefined()) return generator(runtime, {});
  if (!call.self().is(Kind::Dict)) {
    // The reference finds out when the generator is first asked for an item; so do its users.
    call.fail(std::string("needs a dict, not a value of type ") + type_name(call.self()));
  }
  return generator(runtime, collect(runtime, Value::object(runtime.make<DictView>(
                                                 &call.self().dict(), DictPart::Items))));
}

// clang-format off
constexpr std::array kSequenceFilters = {
    NativeRow{"length", length_of, ""},
    NativeRow{"count", length_of, ""},
    NativeRow{"list", list, ""},
    NativeRow{"first", first, ""},
    NativeRow{"last", last, ""},
    NativeRow{"reverse", reverse, ""},
    NativeRow{"join", join, "d? attribute?"},
    NativeRow{"sort", sort, "reverse? case_sensitive? attribute?"},
    NativeRow{"dictsort", dict_sort, "case_sensitive? by? reverse?"},
    NativeRow{"unique", unique, "case_sensitive? attribute?"},
    NativeRow{"min", [](NativeCall& c) { return extreme(c, false); }, "case_sensitive? attribute?"},
    NativeRow{"max", [](NativeCall& c) { return extreme(c, true); }, "case_sensitive? attribute?"},
    NativeRow{"sum", sum, "attribute? start?"},
    NativeRow{"slice", slice, "slices fill_with?"},
    NativeRow{"batch", batch, "linecount fill_with?"},
    NativeRow{"groupby", group_by, "attribute default? case_sensitive?"},
    NativeRow{"items", items, ""},
};
// clang-format on

}  // namespace

std::span<const NativeRow> sequence_filters() {
  return kSequenceFilters;
}

}  // namespace krasis::jinja
