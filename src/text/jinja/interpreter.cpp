#include "text/jinja/interpreter.h"

#include <utility>
#include <variant>

#include "text/jinja/callables.h"
#include "text/jinja/iteration.h"
#include "text/jinja/operators.h"

namespace krasis::jinja {

Interpreter::FrameHolder::FrameHolder(Interpreter& interpreter, const ScopeLayout& layout,
                                      Frame* outer)
    : frame_(&local_) {
  if (layout.captured) {
    interpreter.runtime_.charge(sizeof(Frame) + layout.slots.size() * sizeof(Value));
    frame_ = &interpreter.captured_frames_.emplace_back();
  }
  frame_->outer = outer;
  frame_->slots.resize(layout.slots.size());
  interpreter.enter(layout, *frame_);
}

std::string Interpreter::render() {
  std::string text;
  out_ = &text;
  FrameHolder holder(*this, tree_.scope, nullptr);
  root_ = &holder.frame();
  run(tree_.body, holder.frame());
  return text;
}

void Interpreter::enter(const ScopeLayout& layout, Frame& frame) {
  for (std::size_t i = 0; i < layout.slots.size(); ++i) {
    const ScopeLayout::Slot& from = layout.slots[i];
    Value& value = frame.slots[i];
    switch (from.load) {
      case ScopeLayout::Load::Parameter:
        break;
      case ScopeLayout::Load::Missing:
        value = Value();
        break;
      case ScopeLayout::Load::Outer:
        value = slot(from.outer, *frame.outer);
        break;
      case ScopeLayout::Load::Context: {
        const Value* found = exported_.find(std::string_view(from.name->bytes));
        if (found == nullptr) found = context_.find(std::string_view(from.name->bytes));
        value = found == nullptr ? Value() : *found;
      }
    }
  }
}

Value& Interpreter::slot(const VariableRef& ref, Frame& frame) {
  Frame* owner = &frame;
  for (int hops = ref.hops; hops > 0; --hops) owner = owner->outer;
  return owner->slots[static_cast<std::size_t>(ref.slot)];
}

void Interpreter::write(std::string_view text) {
  if (out_->size() + text.size() > runtime_.limits().output_bytes) {
    runtime_.fail("the text is longer than " + std::to_string(runtime_.limits().output_bytes) +
                  " bytes");
  }
  out_->append(text);
}

void Interpreter::write_value(const Value& value) {
  if (value.is_string()) {
    write(value.bytes());
  } else {
    write(to_text(runtime_, value));
  }
}

Flow Interpreter::run(const Body& body, Frame& frame) {
  const Runtime::Nested nested(runtime_);
  for (const Stmt* stmt : body) {
    runtime_.step();
    runtime_.set_line(stmt->line);
    const Flow flow = std::visit([&](const auto& s) { return run(s, frame); }, stmt->node);
    if (flow != Flow::Normal) return flow;
  }
  return Flow::Normal;
}

Flow Interpreter::run(const DataStmt& s, Frame&) {
  write(s.text);
  return Flow::Normal;
}

Flow Interpreter::run(const OutputStmt& s, Frame& frame) {
  for (const Expr* item : s.items) write_value(eval(*item, frame));
  return Flow::Normal;
}

Flow Interpreter::run(const IfStmt& s, Frame& frame) {
  for (const IfStmt::Branch& branch : s.branches)
    if (truth(runtime_, eval(*branch.test, frame))) return run(branch.body, frame);
  return run(s.otherwise, frame);
}

Flow Interpreter::run(const ForStmt& s, Frame& frame) {
  const Value iterable = eval(*s.iterable, frame);
  if (s.recursive) {
    write_value(recurse(s, &frame, iterable, 0));
    return Flow::Normal;
  }
  return run_loop(s, iterable, &frame, 0);
}

Value Interpreter::recurse(const ForStmt& loop, Frame* definition, const Value& iterable,
                           int depth) {
  Capture capture(*this);
  run_loop(loop, iterable, definition, depth);
  return runtime_.string(capture.take());
}

bool Interpreter::passes(const ForStmt& loop, Frame& test_frame, const Value& item) {
  enter(loop.test_scope, test_frame);
  assign(loop.test_target, item, test_frame);
  return truth(runtime_, eval(*loop.test, test_frame));
}

// A break or continue that leaves the first iterations keeps the else part alive, as in what the
// reference compiles a loop to: only the end of the body marks that there was an iteration.
Flow Interpreter::run_loop(const ForStmt& s, const Value& iterable, Frame* definition, int depth) {
  Value source = iterable;
  if (s.test != nullptr) {
    Frame& test_frame = captured_frames_.emplace_back();
    test_frame.outer = definition;
    test_frame.slots.resize(s.test_scope.slots.size());
    runtime_.charge(sizeof(Frame) + test_frame.slots.size() * sizeof(Value));
    source = Value::object(
        runtime_.make<FilteredItems>(*this, s, test_frame, iterate(runtime_, iterable)));
  }
  Loop* loop = runtime_.make<Loop>(*this, s, definition, source, depth);
  loop->start(runtime_);
  FrameHolder holder(*this, s.scope, definition);
  Frame& frame = holder.frame();
  bool completed = false;
  for (Value item; loop->advance(runtime_, item);) {
    runtime_.step();
    enter(s.scope, frame);
    frame.slots[static_cast<std::size_t>(s.loop_slot)] = Value::object(loop);
    assign(s.target, item, frame);
    const Flow flow = run(s.body, frame);
    if (flow == Flow::Break) break;
    completed = completed || flow == Flow::Normal;
  }
  if (completed || s.otherwise.empty()) return Flow::Normal;
  FrameHolder otherwise(*this, s.else_scope, definition);
  return run(s.otherwise, otherwise.frame());
}

void Interpreter::require_namespaces(const Target& target, Frame& frame) {
  if (target.form == Target::Form::Attribute) {
    const Value& owner = slot(target.ref, frame);
    if (!owner.is(Kind::Object) || owner.object().kind() != ObjectKind::Namespace) {
      runtime_.fail("cannot set the attribute '" + target.attribute->bytes + "' of '" +
                    target.name->bytes + "': it is not a namespace");
    }
  }
  for (const Target& item : target.items) require_namespaces(item, frame);
}

void Interpreter::assign(const Target& target, const Value& value, Frame& frame) {
  switch (target.form) {
    case Target::Form::Name:
      slot(target.ref, frame) = value;
      if (&frame == root_ && !tree_.blocks.empty())
        exported_.set(Value::string(target.name), value);
      return;
    case Target::Form::Attribute: {
      require_namespaces(target, frame);
      auto& owner = static_cast<Namespace&>(slot(target.ref, frame).object());
      runtime_.charge(sizeof(Dict::Entry));
      owner.attributes().set(Value::string(target.attribute), value);
      return;
    }
    case Target::Form::Tuple:
      break;
  }
  Iterator& iterator = iterate(runtime_, value);
  Value item;
  for (const Target& part : target.items) {
    if (!iterator.next(runtime_, item)) {
      runtime_.fail("there are fewer than " + std::to_string(target.items.size()) +
                    " values to unpack");
    }
    assign(part, item, frame);
  }
  if (iterator.next(runtime_, item)) {
    runtime_.fail("there are more than " + std::to_string(target.items.size()) +
                  " values to unpack");
  }
}

Flow Interpreter::run(const SetStmt& s, Frame& frame) {
  require_namespaces(s.target, frame);
  assign(s.target, eval(*s.value, frame), frame);
  return Flow::Normal;
}

Value Interpreter::filtered(const Expr& filter, std::string content, Frame& frame) {
  Value before = std::exchange(filter_input_, runtime_.string(std::move(content)));
  Value result = eval(filter, frame);
  filter_input_ = std::move(before);
  return result;
}

Flow Interpreter::run(const SetBlockStmt& s, Frame& frame) {
  FrameHolder inner(*this, s.scope, &frame);
  std::string content;
  {
    Capture capture(*this);
    const Flow flow = run(s.body, inner.frame());
    if (flow != Flow::Normal) return flow;
    content = capture.take();
  }
  const Value value = s.filter == nullptr ? runtime_.string(std::move(content))
                                          : filtered(*s.filter, std::move(content), inner.frame());
  assign(s.target, value, frame);
  return Flow::Normal;
}

Flow Interpreter::run(const MacroStmt& s, Frame& frame) {
  assign(s.target, Value::object(runtime_.make<Macro>(*this, s.macro, &frame)), frame);
  return Flow::Normal;
}

Flow Interpreter::run(const CallStmt& s, Frame& frame) {
  const auto& call_expr = std::get<CallExpr>(s.call->node);
  const Value callee = eval(*call_expr.callee, frame);
  Arguments arguments = eval_arguments(call_expr.arguments, frame);
  for (const auto& [name, value] : arguments.named)
    if (name->bytes == "caller") runtime_.fail("a call block's call got a second 'caller'");
  arguments.named.emplace_back(s.macro.name,
                               Value::object(runtime_.make<Macro>(*this, s.macro, &frame)));
  write_value(call(runtime_, callee, arguments));
  return Flow::Normal;
}

Flow Interpreter::run(const FilterStmt& s, Frame& frame) {
  FrameHolder inner(*this, s.scope, &frame);
  std::string content;
  {
    Capture capture(*this);
    const Flow flow = run(s.body, inner.frame());
    if (flow != Flow::Normal) return flow;
    content = capture.take();
  }
  write_value(filtered(*s.filter, std::move(content), inner.frame()));
  return Flow::Normal;
}

Flow Interpreter::run(const WithStmt& s, Frame& frame) {
  FrameHolder inner(*this, s.scope, &frame);
  for (std::size_t i = 0; i < s.targets.size(); ++i)
    assign(s.targets[i], eval(*s.values[i], frame), inner.frame());
  return run(s.body, inner.frame());
}

Flow Interpreter::run(const ScopedStmt& s, Frame& frame) {
  FrameHolder inner(*this, s.scope, &frame);
  return run(s.body, inner.frame());
}

Flow Interpreter::run(const BlockStmt& s, Frame&) {
  FrameHolder inner(*this, s.scope, nullptr);
  return run(s.body, inner.frame());
}

Flow Interpreter::run(const BreakStmt&, Frame&) {
  return Flow::Break;
}
Flow Interpreter::run(const ContinueStmt&, Frame&) {
  return Flow::Continue;
}

Flow Interpreter::run(const ForeignStmt& s, Frame&) {
  runtime_.fail("'" + s.tag + "' needs another template, and there is none");
}

Value Interpreter::call_macro(const MacroBody& macro, Frame* definition,
                              const Arguments& arguments) {
  const int line = runtime_.line();
  FrameHolder holder(*this, macro.scope, definition);
  Frame& frame = holder.frame();
  bind_macro_arguments(runtime_, macro, arguments, frame);
  const std::size_t without_default = macro.parameters.size() - macro.defaults.size();
  for (std::size_t i = 0; i < macro.parameters.size(); ++i) {
    Value& value = frame.slots[static_cast<std::size_t>(macro.parameter_slots[i])];
    if (!value.is_missing()) continue;
    value = i < without_default
                ? Value::undefined_hint("the parameter '" + macro.parameters[i]->bytes +
                                        "' was not provided")
                : eval(*macro.defaults[i - without_default], frame);
  }
  Capture capture(*this);
  run(macro.body, frame);
  runtime_.set_line(line);
  return runtime_.string(capture.take());
}

}  // namespace krasis::jinja
