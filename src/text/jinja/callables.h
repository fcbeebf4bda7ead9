// Values that refer back to the template: macros and the `loop` variable.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "text/jinja/interpreter.h"
#include "text/jinja/object.h"
#include "text/jinja/syntax.h"

namespace krasis::jinja {

class Macro final : public Object {
 public:
  Macro(Interpreter& interpreter, const MacroBody& macro, Frame* definition)
      : interpreter_(interpreter), macro_(macro), definition_(definition) {}
  const char* type_name() const override { return "macro"; }
  Value attribute(Runtime& runtime, std::string_view name) override;
  bool callable() const override { return true; }
  Value call(Runtime& runtime, const Arguments& arguments) override;
  std::string repr(Runtime& runtime) override;

 private:
  Interpreter& interpreter_;
  const MacroBody& macro_;
  Frame* definition_;
};

// Positional, then named arguments into the parameters' slots (Missing where not given); the rest
// goes to varargs, kwargs and caller where the body uses them, and is an error where it does not.
void bind_macro_arguments(Runtime& runtime, const MacroBody& macro, const Arguments& arguments,
                          Frame& frame);

// The items of a loop that pass its `if`.
class FilteredItems final : public Iterator {
 public:
  FilteredItems(Interpreter& interpreter, const ForStmt& loop, Frame& frame, Iterator& source)
      : interpreter_(interpreter), loop_(loop), frame_(frame), source_(source) {}
  bool next(Runtime& runtime, Value& out) override;

 private:
  Interpreter& interpreter_;
  const ForStmt& loop_;
  Frame& frame_;
  Iterator& source_;
};

// The `loop` variable: where the loop is. It reads one item ahead only when asked for what needs
// it.
class Loop final : public Object {
 public:
  Loop(Interpreter& interpreter, const ForStmt& loop, Frame* definition, Value iterable, int depth)
      : interpreter_(interpreter),
        loop_(loop),
        definition_(definition),
        iterable_(std::move(iterable)),
        depth_(depth) {}
  const char* type_name() const override { return "loop"; }
  Value attribute(Runtime& runtime, std::string_view name) override;
  bool callable() const override { return true; }
  Value call(Runtime& runtime, const Arguments& arguments) override;
  std::optional<std::size_t> length(Runtime& runtime) override;
  std::string repr(Runtime& runtime) override;

  void start(Runtime& runtime);
  bool advance(Runtime& runtime, Value& item);
  Value cycle(Runtime& runtime, const Arguments& arguments) const;
  bool changed(Runtime& runtime, const Arguments& arguments);

 private:
  Value peek(Runtime& runtime);  // Missing at the end

  Interpreter& interpreter_;
  const ForStmt& loop_;
  Frame* definition_;
  Value iterable_;
  int depth_;
  Iterator* source_ = nullptr;
  std::int64_t index0_ = -1;
  std::optional<std::int64_t> length_;
  Value before_, current_, after_;
  std::optional<std::vector<Value>> last_changed_;
};

}  // namespace krasis::jinja
