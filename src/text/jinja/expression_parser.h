// Expressions: Python's, with filters (|) and tests (is).
#pragma once

#include <string_view>

#include "text/jinja/token_stream.h"

namespace krasis::jinja {

class ExpressionParser {
 public:
  explicit ExpressionParser(TokenStream& stream) : stream_(stream) {}

  struct TupleRules {
    bool conditional = true;            // may contain a bare inline if
    std::string_view end_name = {};     // a name that ends the tuple
    bool explicit_parentheses = false;  // () is the empty tuple
  };
  Expr* expression() { return conditional(); }
  Expr* tuple(const TupleRules& rules);
  // name, (a, b), a, b, and with `attributes` namespace.name.
  Target target(std::string_view end_name, bool attributes);
  Target name_target();
  // |a|b(...) behind `input`; with `inline_first` the first name stands without a bar.
  Expr* filters(Expr* input, bool inline_first);

 private:
  template <typename Node>
  Expr* make(int line, Node node, std::initializer_list<const Expr*> children = {});
  Expr* conditional();
  Expr* disjunction();
  Expr* conjunction();
  Expr* negation();
  Expr* comparison();
  Expr* sum();
  Expr* concatenation();
  Expr* product();
  Expr* power();
  Expr* unary(bool with_filters);
  Expr* primary();
  Expr* name();
  Expr* string();
  Expr* list();
  Expr* dict();
  Expr* postfix(Expr* node);
  Expr* filter_expressions(Expr* node);
  Expr* subscript(Expr* node);
  Expr* subscribed(Expr* object, bool& is_slice);
  Expr* call(Expr* callee);
  Expr* test(Expr* input);
  std::string dotted_name();
  CallArguments call_arguments();
  Target primary_target(bool attributes);

  TokenStream& stream_;
};

}  // namespace krasis::jinja
