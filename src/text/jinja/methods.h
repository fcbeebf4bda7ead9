// Functions written in C++ that templates can call: methods, filters, tests, globals.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "text/jinja/object.h"
#include "text/jinja/runtime.h"

namespace krasis::jinja {

class NativeCall;

struct NativeRow {
  std::string_view name;
  Value (*function)(NativeCall& call);
  // Parameter names between spaces; "name?" may be left out. A leading "/" forbids naming them.
  // "*" takes any arguments unbound.
  std::string_view parameters;
};

// One call: the value it is for (the method's owner, the filter's input) and its arguments in the
// order of the row's parameters; what was not given is Missing.
class NativeCall {
 public:
  // Binds; fails for too many, unknown, repeated or missing arguments.
  NativeCall(Runtime& runtime, const NativeRow& row, const Value& self, const Arguments& arguments);

  Runtime& runtime() const { return runtime_; }
  const Value& self() const { return self_; }
  const Arguments& arguments() const { return arguments_; }
  bool given(std::size_t i) const { return !bound_[i].is_missing(); }
  const Value& operator[](std::size_t i) const { return bound_[i]; }

  [[noreturn]] void fail(const std::string& what) const;  // with the function's name before it
  // Argument i, which has to be of that kind, or the default where it was not given.
  std::int64_t integer(std::size_t i) const;
  std::int64_t integer(std::size_t i, std::int64_t otherwise) const;
  bool flag(std::size_t i, bool otherwise) const;  // any value's truth
  const Text& text(std::size_t i) const;
  Value value(std::size_t i, const Value& otherwise) const {
    return given(i) ? bound_[i] : otherwise;
  }
  bool given_and_not_none(std::size_t i) const { return given(i) && !bound_[i].is_none(); }

 private:
  void bind();
  static constexpr std::size_t kMaxParameters = 6;

  Runtime& runtime_;
  const NativeRow& row_;
  const Value& self_;
  const Arguments& arguments_;
  std::array<Value, kMaxParameters> bound_;
};

const NativeRow* find_string_method(std::string_view name);
const NativeRow* find_list_method(std::string_view name);
const NativeRow* find_tuple_method(std::string_view name);
const NativeRow* find_dict_method(std::string_view name);
const NativeRow* find_number_method(std::string_view name);
const NativeRow* find_filter(std::string_view name);
const NativeRow* find_test(std::string_view name);

// A function as a value; `self` is Missing for a global one.
Value make_function(Runtime& runtime, const NativeRow& row, const Value& self);
// range, dict, namespace, cycler, joiner, raise_exception, strftime_now.
std::span<const NativeRow> global_functions();

// Rows of several files make one table; the parts stay in the files that implement them.
const NativeRow* find_row(std::span<const NativeRow> rows, std::string_view name);
std::span<const NativeRow> string_search_methods();
std::span<const NativeRow> string_shape_methods();
std::span<const NativeRow> text_filters();
std::span<const NativeRow> layout_filters();
std::span<const NativeRow> sequence_filters();
std::span<const NativeRow> selection_filters();
std::span<const NativeRow> value_filters();

Value apply_filter(Runtime& runtime, const NativeRow& row, const Value& input,
                   const Arguments& arguments);
bool apply_test(Runtime& runtime, const NativeRow& row, const Value& input,
                const Arguments& arguments);

}  // namespace krasis::jinja
