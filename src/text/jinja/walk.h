// Going over the parts of an expression.
#pragma once

#include <variant>

#include "text/jinja/syntax.h"

namespace krasis::jinja {

template <typename Function>
void for_each_child(const CallArguments& arguments, Function&& function) {
  for (Expr* e : arguments.positional) function(e);
  for (const auto& [name, e] : arguments.named) function(e);
  if (arguments.star != nullptr) function(arguments.star);
  if (arguments.double_star != nullptr) function(arguments.double_star);
}

// Calls `function` with each direct part, in the order of the source.
template <typename Function>
void for_each_child(const Expr& expr, Function&& function) {
  const auto one = [&](Expr* e) {
    if (e != nullptr) function(e);
  };
  const auto many = [&](const auto& items) {
    for (Expr* e : items) function(e);
  };
  std::visit(
      [&](const auto& node) {
        using Node = std::decay_t<decltype(node)>;
        if constexpr (std::is_same_v<Node, DictExpr>) {
          for (const auto& [key, value] : node.items) function(key), function(value);
        } else if constexpr (requires { node.items; }) {
          many(node.items);
        } else if constexpr (requires { node.test; }) {
          one(node.test), one(node.then), one(node.otherwise);
        } else if constexpr (requires { node.operand; }) {
          one(node.operand);
        } else if constexpr (requires { node.left; }) {
          one(node.left), one(node.right);
        } else if constexpr (requires { node.first; }) {
          one(node.first);
          for (const auto& [op, e] : node.rest) function(e);
        } else if constexpr (requires { node.object; }) {
          one(node.object);
          if constexpr (requires { node.key; }) one(node.key);
          if constexpr (requires { node.start; }) one(node.start), one(node.stop), one(node.step);
        } else if constexpr (requires { node.arguments; }) {
          if constexpr (requires { node.callee; }) one(node.callee);
          if constexpr (requires { node.input; }) one(node.input);
          for_each_child(node.arguments, function);
        }
      },
      expr.node);
}

// Calls `function` with every name that the expression reads.
template <typename Function>
void walk_names(const Expr& expr, Function&& function) {
  if (const auto* name = std::get_if<NameExpr>(&expr.node)) function(*name);
  for_each_child(expr, [&](const Expr* child) { walk_names(*child, function); });
}

}  // namespace krasis::jinja
