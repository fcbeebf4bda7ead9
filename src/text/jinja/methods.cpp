#include "text/jinja/methods.h"

#include <algorithm>
#include <string>
#include <unordered_map>

#include "text/jinja/operators.h"

namespace krasis::jinja {
namespace {

class NativeFunction final : public Object {
 public:
  NativeFunction(const NativeRow& row, Value self) : row_(row), self_(std::move(self)) {}
  const char* type_name() const override { return "function"; }
  bool callable() const override { return true; }
  Value call(Runtime& runtime, const Arguments& arguments) override {
    NativeCall native(runtime, row_, self_, arguments);
    return row_.function(native);
  }
  std::string repr(Runtime&) override { return "<function " + std::string(row_.name) + ">"; }

 private:
  const NativeRow& row_;
  Value self_;
};

using Table = std::unordered_map<std::string_view, const NativeRow*>;

Table make_table(std::initializer_list<std::span<const NativeRow>> parts) {
  Table table;
  for (const auto part : parts)
    for (const NativeRow& row : part) table.emplace(row.name, &row);
  return table;
}

const NativeRow* look_up(const Table& table, std::string_view name) {
  const auto it = table.find(name);
  return it == table.end() ? nullptr : it->second;
}

}  // namespace

NativeCall::NativeCall(Runtime& runtime, const NativeRow& row, const Value& self,
                       const Arguments& arguments)
    : runtime_(runtime), row_(row), self_(self), arguments_(arguments) {
  if (self.is_string()) runtime.step_over(self.bytes());
  if (row.parameters != "*") bind();
}

void NativeCall::bind() {
  std::string_view rest = row_.parameters;
  const bool positional_only = rest.starts_with('/');
  if (positional_only) rest.remove_prefix(1);
  std::size_t count = 0;
  std::size_t used_names = 0;
  while (!rest.empty()) {
    const std::size_t space = rest.find(' ');
    std::string_view name = rest.substr(0, space);
    rest.remove_prefix(space == rest.npos ? rest.size() : space + 1);
    if (name.empty()) continue;
    const bool optional = name.back() == '?';
    if (optional) name.remove_suffix(1);
    if (count < arguments_.positional.size()) bound_[count] = arguments_.positional[count];
    for (const auto& [key, value] : arguments_.named) {
      if (positional_only || key->bytes != name) continue;
      if (given(count)) fail("got two values for '" + std::string(name) + "'");
      bound_[count] = value;
      ++used_names;
    }
    if (!given(count) && !optional) fail("needs an argument '" + std::string(name) + "'");
    ++count;
  }
  if (arguments_.positional.size() > count) {
    fail("takes at most " + std::to_string(count) + " arguments, got " +
         std::to_string(arguments_.positional.size()));
  }
  if (used_names < arguments_.named.size()) {
    fail("does not know one of the named arguments, for example '" +
         arguments_.named.back().first->bytes + "'");
  }
}

void NativeCall::fail(const std::string& what) const {
  runtime_.fail(std::string(row_.name) + ": " + what);
}

std::int64_t NativeCall::integer(std::size_t i) const {
  if (!bound_[i].is_integral()) {
    require_defined(runtime_, bound_[i]);
    fail(std::string("needs an integer, got a value of type ") + type_name(bound_[i]));
  }
  return bound_[i].as_int();
}

std::int64_t NativeCall::integer(std::size_t i, std::int64_t otherwise) const {
  return given(i) ? integer(i) : otherwise;
}

bool NativeCall::flag(std::size_t i, bool otherwise) const {
  return given(i) ? truth(runtime_, bound_[i]) : otherwise;
}

const Text& NativeCall::text(std::size_t i) const {
  if (!bound_[i].is_string()) {
    require_defined(runtime_, bound_[i]);
    fail(std::string("needs a string, got a value of type ") + type_name(bound_[i]));
  }
  return bound_[i].text();
}

const NativeRow* find_row(std::span<const NativeRow> rows, std::string_view name) {
  const auto it = std::find_if(rows.begin(), rows.end(),
                               [&](const NativeRow& row) { return row.name == name; });
  return it == rows.end() ? nullptr : &*it;
}

const NativeRow* find_string_method(std::string_view name) {
  static const Table table = make_table({string_search_methods(), string_shape_methods()});
  return look_up(table, name);
}

const NativeRow* find_filter(std::string_view name) {
  static const Table table = make_table(
      {text_filters(), layout_filters(), sequence_filters(), selection_filters(), value_filters()});
  return look_up(table, name);
}

Value make_function(Runtime& runtime, const NativeRow& row, const Value& self) {
  return Value::object(runtime.make<NativeFunction>(row, self));
}

Value apply_filter(Runtime& runtime, const NativeRow& row, const Value& input,
                   const Arguments& arguments) {
  NativeCall native(runtime, row, input, arguments);
  return row.function(native);
}

bool apply_test(Runtime& runtime, const NativeRow& row, const Value& input,
                const Arguments& arguments) {
  NativeCall native(runtime, row, input, arguments);
  return truth(runtime, row.function(native));
}

}  // namespace krasis::jinja
