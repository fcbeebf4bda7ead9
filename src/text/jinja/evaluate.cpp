// Expressions of the interpreter.
#include <utility>
#include <variant>

#include "text/jinja/interpreter.h"
#include "text/jinja/iteration.h"
#include "text/jinja/operators.h"

namespace krasis::jinja {

Value Interpreter::eval(const Expr& expr, Frame& frame) {
  const Runtime::Nested nested(runtime_);
  runtime_.step();
  runtime_.set_line(expr.line);
  return std::visit([&](const auto& e) { return eval(e, frame); }, expr.node);
}

Value Interpreter::eval(const Constant& e, Frame&) {
  return e.value;
}

Value Interpreter::eval(const NameExpr& e, Frame& frame) {
  const Value& value = slot(e.ref, frame);
  return value.is_missing() ? Value::undefined_name(e.name) : value;
}

std::vector<Value> Interpreter::eval_all(const std::vector<Expr*>& items, Frame& frame) {
  std::vector<Value> values;
  values.reserve(items.size());
  for (const Expr* item : items) values.push_back(eval(*item, frame));
  return values;
}

Value Interpreter::eval(const TupleExpr& e, Frame& frame) {
  return runtime_.tuple(eval_all(e.items, frame));
}

Value Interpreter::eval(const ListExpr& e, Frame& frame) {
  return runtime_.list(eval_all(e.items, frame));
}

Value Interpreter::eval(const DictExpr& e, Frame& frame) {
  Value result = runtime_.dict();
  runtime_.charge(e.items.size() * sizeof(Dict::Entry));
  for (const auto& [key_expr, value_expr] : e.items) {
    const Value key = eval(*key_expr, frame);
    const Value value = eval(*value_expr, frame);
    if (!hashable(key))
      runtime_.fail(std::string("a value of type ") + type_name(key) + " cannot be a dict key");
    result.dict().set(key, value);
  }
  return result;
}

Value Interpreter::eval(const ConditionalExpr& e, Frame& frame) {
  if (truth(runtime_, eval(*e.test, frame))) return eval(*e.then, frame);
  if (e.otherwise != nullptr) return eval(*e.otherwise, frame);
  return Value::undefined_hint("the inline if was false and has no else");
}

Value Interpreter::eval(const NotExpr& e, Frame& frame) {
  return Value::boolean(!truth(runtime_, eval(*e.operand, frame)));
}

Value Interpreter::eval(const SignExpr& e, Frame& frame) {
  const Value operand = eval(*e.operand, frame);
  return e.negative ? negate(runtime_, operand) : positive(runtime_, operand);
}

Value Interpreter::eval(const LogicExpr& e, Frame& frame) {
  Value left = eval(*e.left, frame);
  return truth(runtime_, left) == e.is_and ? eval(*e.right, frame) : left;
}

Value Interpreter::eval(const BinaryExpr& e, Frame& frame) {
  const Value left = eval(*e.left, frame);
  const Value right = eval(*e.right, frame);
  return binary(runtime_, e.op, left, right);
}

Value Interpreter::eval(const CompareExpr& e, Frame& frame) {
  Value left = eval(*e.first, frame);
  for (const auto& [op, expr] : e.rest) {
    Value right = eval(*expr, frame);
    if (!compare(runtime_, op, left, right)) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

Value Interpreter::eval(const ConcatExpr& e, Frame& frame) {
  std::string result;
  for (const Value& value : eval_all(e.items, frame)) {
    const std::string text = to_text(runtime_, value);
    runtime_.charge(text.size());
    result += text;
  }
  return runtime_.string(std::move(result));
}

Value Interpreter::eval(const AttributeExpr& e, Frame& frame) {
  return get_attribute(runtime_, eval(*e.object, frame), e.name);
}

Value Interpreter::eval(const ItemExpr& e, Frame& frame) {
  const Value object = eval(*e.object, frame);
  return get_item(runtime_, object, eval(*e.key, frame));
}

Value Interpreter::eval(const SliceExpr& e, Frame& frame) {
  const Value object = eval(*e.object, frame);
  SliceBounds bounds;
  if (e.start != nullptr) bounds.start = eval(*e.start, frame);
  if (e.stop != nullptr) bounds.stop = eval(*e.stop, frame);
  if (e.step != nullptr) bounds.step = eval(*e.step, frame);
  return get_slice(runtime_, object, bounds);
}

Arguments Interpreter::eval_arguments(const CallArguments& arguments, Frame& frame) {
  Arguments result;
  result.positional = eval_all(arguments.positional, frame);
  if (arguments.star != nullptr) {
    for (Value& item : collect(runtime_, eval(*arguments.star, frame)))
      result.positional.push_back(std::move(item));
  }
  for (const auto& [name, expr] : arguments.named)
    result.named.emplace_back(name, eval(*expr, frame));
  if (arguments.double_star == nullptr) return result;
  const Value more = eval(*arguments.double_star, frame);
  require_defined(runtime_, more);
  if (!more.is(Kind::Dict))
    runtime_.fail(std::string("** needs a dict, not a value of type ") + type_name(more));
  for (const Dict::Entry& entry : more.dict().entries()) {
    if (!entry.key.is_string()) runtime_.fail("the keys of a ** argument have to be strings");
    for (const auto& [name, value] : result.named) {
      if (name->bytes == entry.key.bytes())
        runtime_.fail("the argument '" + name->bytes + "' is given twice");
    }
    result.named.emplace_back(entry.key.text_ptr(), entry.value);
  }
  return result;
}

Value Interpreter::eval(const CallExpr& e, Frame& frame) {
  const Value callee = eval(*e.callee, frame);
  const int line = runtime_.line();
  const Arguments arguments = eval_arguments(e.arguments, frame);
  runtime_.set_line(line);
  return call(runtime_, callee, arguments);
}

Value Interpreter::eval(const FilterExpr& e, Frame& frame) {
  const Value input = e.input == nullptr ? filter_input_ : eval(*e.input, frame);
  if (e.row == nullptr) runtime_.fail("there is no filter '" + e.name->bytes + "'");
  return apply_filter(runtime_, *e.row, input, eval_arguments(e.arguments, frame));
}

Value Interpreter::eval(const TestExpr& e, Frame& frame) {
  const Value input = eval(*e.input, frame);
  if (e.row == nullptr) runtime_.fail("there is no test '" + e.name->bytes + "'");
  return Value::boolean(apply_test(runtime_, *e.row, input, eval_arguments(e.arguments, frame)));
}

}  // namespace krasis::jinja
