// map, select, reject and their attribute forms: generators that work item by item when asked.
#include <array>
#include <optional>
#include <string>
#include <utility>

#include "text/jinja/iteration.h"
#include "text/jinja/methods.h"
#include "text/jinja/operators.h"

namespace krasis::jinja {
namespace {

// The source is only iterated over, and names only looked up, when the first item is asked for.
class LazyItems : public Iterator {
 public:
  LazyItems(Value source, Arguments arguments)
      : source_(std::move(source)), arguments_(std::move(arguments)) {}

  bool next(Runtime& runtime, Value& out) final {
    if (!started_) {
      started_ = true;
      if (truth(runtime, source_)) {
        prepare(runtime);
        items_ = &iterate(runtime, source_);
      }
    }
    if (items_ == nullptr) return false;
    const Runtime::Nested nested(runtime);  // the source may be such a generator itself
    while (items_->next(runtime, out)) {
      runtime.step();
      if (take(runtime, out)) return true;
    }
    return false;
  }

 protected:
  virtual void prepare(Runtime& runtime) = 0;
  // Whether the item stays; may change it.
  virtual bool take(Runtime& runtime, Value& item) = 0;
  Arguments& arguments() { return arguments_; }
  // The name that the first remaining argument has to be; it is removed.
  TextPtr take_name(Runtime& runtime, const char* what) {
    if (arguments_.positional.empty() || !arguments_.positional.front().is_string())
      runtime.fail(std::string("map, select, reject: expected the name of a ") + what);
    TextPtr name = arguments_.positional.front().text_ptr();
    arguments_.positional.erase(arguments_.positional.begin());
    return name;
  }

 private:
  Value source_;
  Arguments arguments_;
  bool started_ = false;
  Iterator* items_ = nullptr;
};

class MappedItems final : public LazyItems {
 public:
  using LazyItems::LazyItems;

 private:
  void prepare(Runtime& runtime) override {
    if (arguments().positional.empty() && !arguments().named.empty()) {
      for (const auto& [name, value] : arguments().named) {
        if (name->bytes == "attribute") {
          path_ = value;
        } else if (name->bytes == "default") {
          default_ = value;
        } else {
          runtime.fail("map: there is no argument '" + name->bytes + "'");
        }
      }
      if (!path_) runtime.fail("map: needs a filter or an attribute");
      return;
    }
    const TextPtr name = take_name(runtime, "filter");
    filter_ = find_filter(name->bytes);
    if (filter_ == nullptr) runtime.fail("there is no filter '" + name->bytes + "'");
  }

  bool take(Runtime& runtime, Value& item) override {
    if (filter_ != nullptr) {
      item = apply_filter(runtime, *filter_, item, arguments());
    } else {
      item = path_value(runtime, item);
    }
    return true;
  }

  // A default stands in at any step of a path.
  Value path_value(Runtime& runtime, const Value& item) const {
    if (default_.is_missing() || default_.is_none() || !path_->is_string())
      return or_default(get_path(runtime, item, *path_));
    Value value = item;
    std::string_view rest = path_->bytes();
    for (bool last = false; !last;) {
      const std::size_t dot = rest.find('.');
      last = dot == rest.npos;
      value = or_default(get_path(runtime, value, runtime.string(rest.substr(0, dot))));
      if (!last) rest.remove_prefix(dot + 1);
    }
    return value;
  }

  Value or_default(const Value& value) const {
    const bool use = value.is_undefined() && !default_.is_missing() && !default_.is_none();
    return use ? default_ : value;
  }

  const NativeRow* filter_ = nullptr;
  std::optional<Value> path_;
  Value default_;
};

class SelectedItems final : public LazyItems {
 public:
  SelectedItems(Value source, Arguments given, bool wanted, bool by_attribute)
      : LazyItems(std::move(source), std::move(given)),
        wanted_(wanted),
        by_attribute_(by_attribute) {}

 private:
  void prepare(Runtime& runtime) override {
    if (by_attribute_) {
      if (arguments().positional.empty()) runtime.fail("selectattr, rejectattr: need an attribute");
      path_ = arguments().positional.front();
      arguments().positional.erase(arguments().positional.begin());
    }
    if (arguments().positional.empty()) return;
    const TextPtr name = take_name(runtime, "test");
    test_ = find_test(name->bytes);
    if (test_ == nullptr) runtime.fail("there is no test '" + name->bytes + "'");
  }

  bool take(Runtime& runtime, Value& item) override {
    const Value value = by_attribute_ ? get_path(runtime, item, path_) : item;
    const bool passes =
        test_ == nullptr ? truth(runtime, value) : apply_test(runtime, *test_, value, arguments());
    return passes == wanted_;
  }

  bool wanted_;
  bool by_attribute_;
  Value path_;
  const NativeRow* test_ = nullptr;
};

Value map(NativeCall& call) {
  return Value::object(call.runtime().make<MappedItems>(call.self(), call.arguments()));
}

template <bool Wanted, bool ByAttribute>
Value select(NativeCall& call) {
  return Value::object(
      call.runtime().make<SelectedItems>(call.self(), call.arguments(), Wanted, ByAttribute));
}

// clang-format off
constexpr std::array kSelectionFilters = {
    NativeRow{"map", map, "*"},
    NativeRow{"select", select<true, false>, "*"},
    NativeRow{"reject", select<false, false>, "*"},
    NativeRow{"selectattr", select<true, true>, "*"},
    NativeRow{"rejectattr", select<false, true>, "*"},
};
// clang-format on

}  // namespace

std::span<const NativeRow> selection_filters() {
  return kSelectionFilters;
}

}  // namespace krasis::jinja
