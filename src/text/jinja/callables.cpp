#include "text/jinja/callables.h"

#include <array>
#include <utility>

#include "text/jinja/iteration.h"
#include "text/jinja/methods.h"
#include "text/jinja/operators.h"

namespace krasis::jinja {
namespace {

Value loop_cycle(NativeCall& call) {
  return static_cast<Loop&>(call.self().object()).cycle(call.runtime(), call.arguments());
}

Value loop_changed(NativeCall& call) {
  auto& loop = static_cast<Loop&>(call.self().object());
  return Value::boolean(loop.changed(call.runtime(), call.arguments()));
}

constexpr NativeRow kCycle = {"cycle", loop_cycle, "*"};
constexpr NativeRow kChanged = {"changed", loop_changed, "*"};

}  // namespace

Value Macro::attribute(Runtime& runtime, std::string_view name) {
  if (name == "name") return Value::string(macro_.name);
  if (name == "arguments") {
    std::vector<Value> names;
    for (const TextPtr& parameter : macro_.parameters) names.push_back(Value::string(parameter));
    return runtime.tuple(std::move(names));
  }
  if (name == "catch_kwargs") return Value::boolean(macro_.kwargs_slot >= 0);
  if (name == "catch_varargs") return Value::boolean(macro_.varargs_slot >= 0);
  if (name == "caller") return Value::boolean(macro_.caller_slot >= 0);
  return {};
}

Value Macro::call(Runtime&, const Arguments& arguments) {
  return interpreter_.call_macro(macro_, definition_, arguments);
}

std::string Macro::repr(Runtime&) {
  return "<Macro " + repr_text(macro_.name->bytes) + ">";
}

void bind_macro_arguments(Runtime& runtime, const MacroBody& macro, const Arguments& arguments,
                          Frame& frame) {
  const auto slot = [&](int index) -> Value& {
    return frame.slots[static_cast<std::size_t>(index)];
  };
  const std::size_t count = macro.parameters.size();
  std::vector<bool> used(arguments.named.size(), false);
  const auto take_named = [&](std::string_view name) {
    for (std::size_t i = 0; i < used.size(); ++i) {
      if (!used[i] && arguments.named[i].first->bytes == name) {
        used[i] = true;
        return arguments.named[i].second;
      }
    }
    return Value();
  };
  for (std::size_t i = 0; i < count; ++i) {
    slot(macro.parameter_slots[i]) = i < arguments.positional.size()
                                         ? arguments.positional[i]
                                         : take_named(macro.parameters[i]->bytes);
  }
  if (macro.caller_slot >= 0) {
    const Value caller = take_named("caller");
    slot(macro.caller_slot) = caller.is_missing() || caller.is_none()
                                  ? Value::undefined_hint("the macro was called without a caller")
                                  : caller;
  }
  Value kwargs;
  if (macro.kwargs_slot >= 0) slot(macro.kwargs_slot) = kwargs = runtime.dict();
  for (std::size_t i = 0; i < used.size(); ++i) {
    const auto& [name, value] = arguments.named[i];
    if (used[i]) continue;
    if (kwargs.is_missing()) {
      runtime.fail("the macro '" + macro.name->bytes + "' has no parameter '" + name->bytes +
                   "', or got it twice");
    }
    kwargs.dict().set(Value::string(name), value);
  }
  std::vector<Value> rest;
  for (std::size_t i = count; i < arguments.positional.size(); ++i)
    rest.push_back(arguments.positional[i]);
  if (macro.varargs_slot >= 0) {
    slot(macro.varargs_slot) = runtime.tuple(std::move(rest));
  } else if (!rest.empty()) {
    runtime.fail("the macro '" + macro.name->bytes + "' takes at most " + std::to_string(count) +
                 " arguments, got " + std::to_string(arguments.positional.size()));
  }
}

bool FilteredItems::next(Runtime& runtime, Value& out) {
  while (source_.next(runtime, out)) {
    runtime.step();
    if (interpreter_.passes(loop_, frame_, out)) return true;
  }
  return false;
}

void Loop::start(Runtime& runtime) {
  source_ = &iterate(runtime, iterable_);
}

bool Loop::advance(Runtime& runtime, Value& item) {
  if (!after_.is_missing()) {
    item = std::exchange(after_, Value());
  } else if (!source_->next(runtime, item)) {
    return false;
  }
  ++index0_;
  before_ = std::exchange(current_, item);
  return true;
}

Value Loop::peek(Runtime& runtime) {
  if (after_.is_missing())
    if (Value item; source_->next(runtime, item)) after_ = std::move(item);
  return after_;
}

std::optional<std::size_t> Loop::length(Runtime& runtime) {
  if (!length_) {
    if (const auto known = jinja::length(runtime, iterable_)) {
      length_ = static_cast<std::int64_t>(*known);
    } else {
      std::vector<Value> rest = collect(runtime, Value::object(source_));
      length_ =
          static_cast<std::int64_t>(rest.size()) + index0_ + 1 + (after_.is_missing() ? 0 : 1);
      source_ = &iterate(runtime, generator(runtime, std::move(rest)));
    }
  }
  return static_cast<std::size_t>(*length_);
}

Value Loop::attribute(Runtime& runtime, std::string_view name) {
  const auto size = [&] { return static_cast<std::int64_t>(*length(runtime)); };
  if (name == "index") return Value::integer(index0_ + 1);
  if (name == "index0") return Value::integer(index0_);
  if (name == "first") return Value::boolean(index0_ == 0);
  if (name == "last") return Value::boolean(peek(runtime).is_missing());
  if (name == "length") return Value::integer(size());
  if (name == "revindex") return Value::integer(size() - index0_);
  if (name == "revindex0") return Value::integer(size() - index0_ - 1);
  if (name == "depth") return Value::integer(depth_ + 1);
  if (name == "depth0") return Value::integer(depth_);
  if (name == "previtem")
    return index0_ == 0 ? Value::undefined_hint("there is no previous item") : before_;
  if (name == "nextitem") {
    Value next = peek(runtime);
    return next.is_missing() ? Value::undefined_hint("there is no next item") : next;
  }
  if (name == "cycle") return make_function(runtime, kCycle, Value::object(this));
  if (name == "changed") return make_function(runtime, kChanged, Value::object(this));
  return {};
}

Value Loop::cycle(Runtime& runtime, const Arguments& arguments) const {
  if (arguments.positional.empty()) runtime.fail("loop.cycle: there is nothing to cycle through");
  return arguments.positional[static_cast<std::size_t>(index0_) % arguments.positional.size()];
}

bool Loop::changed(Runtime& runtime, const Arguments& arguments) {
  const std::vector<Value>& now = arguments.positional;
  bool same = last_changed_ && last_changed_->size() == now.size();
  for (std::size_t i = 0; same && i < now.size(); ++i)
    same = equal(runtime, (*last_changed_)[i], now[i]);
  if (!same) last_changed_ = now;
  return !same;
}

Value Loop::call(Runtime& runtime, const Arguments& arguments) {
  if (!loop_.recursive) runtime.fail("loop(...) needs a loop that is marked 'recursive'");
  if (arguments.positional.size() != 1 || !arguments.named.empty())
    runtime.fail("loop(...) takes one argument");
  return interpreter_.recurse(loop_, definition_, arguments.positional[0], depth_ + 1);
}

std::string Loop::repr(Runtime& runtime) {
  return "<LoopContext " + std::to_string(index0_ + 1) + "/" + std::to_string(*length(runtime)) +
         ">";
}

}  // namespace krasis::jinja
