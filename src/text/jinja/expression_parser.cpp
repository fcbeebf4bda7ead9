#include "text/jinja/expression_parser.h"

#include <algorithm>
#include <array>
#include <utility>

namespace krasis::jinja {
namespace {

constexpr std::array<std::pair<std::string_view, Comparison>, 6> kComparisons = {
    {{"==", Comparison::Equal},
     {"!=", Comparison::NotEqual},
     {"<", Comparison::Less},
     {"<=", Comparison::LessEqual},
     {">", Comparison::Greater},
     {">=", Comparison::GreaterEqual}}};

constexpr std::array<std::pair<std::string_view, BinaryOperator>, 4> kProducts = {
    {{"*", BinaryOperator::Multiply},
     {"/", BinaryOperator::Divide},
     {"//", BinaryOperator::FloorDivide},
     {"%", BinaryOperator::Modulo}}};

template <typename Table>
auto find_operator(const Table& table, const Token& token) {
  return token.kind != TokenKind::Operator
             ? table.end()
             : std::find_if(table.begin(), table.end(),
                            [&](const auto& row) { return row.first == token.text; });
}

int height_of(const CallArguments& arguments) {
  int height = 0;
  for (const Expr* e : arguments.positional) height = std::max(height, e->height);
  for (const auto& [name, e] : arguments.named) height = std::max(height, e->height);
  for (const Expr* e : {arguments.star, arguments.double_star})
    if (e != nullptr) height = std::max(height, e->height);
  return height;
}

bool reserved(const std::string& name) {
  return name == "true" || name == "false" || name == "none" || name == "True" || name == "False" ||
         name == "None";
}

}  // namespace

template <typename Node>
Expr* ExpressionParser::make(int line, Node node, std::initializer_list<const Expr*> children) {
  Expr& expr = stream_.tree().exprs.emplace_back();
  expr.line = line;
  int height = 0;
  for (const Expr* child : children)
    if (child != nullptr) height = std::max(height, child->height);
  if constexpr (requires { node.arguments; }) height = std::max(height, height_of(node.arguments));
  expr.height = height + 1;
  if (expr.height > kMaxExpressionHeight) stream_.fail("an expression has too many parts");
  expr.node = std::move(node);
  return &expr;
}

Expr* ExpressionParser::conditional() {
  const TokenStream::Nested nested(stream_);
  int line = stream_.current().line;
  Expr* node = disjunction();
  while (stream_.skip_name("if")) {
    Expr* test = disjunction();
    Expr* otherwise = stream_.skip_name("else") ? conditional() : nullptr;
    node = make(line, ConditionalExpr{test, node, otherwise}, {test, node, otherwise});
    line = stream_.current().line;
  }
  return node;
}

Expr* ExpressionParser::disjunction() {
  const int line = stream_.current().line;
  Expr* left = conjunction();
  while (stream_.skip_name("or")) {
    Expr* right = conjunction();
    left = make(line, LogicExpr{false, left, right}, {left, right});
  }
  return left;
}

Expr* ExpressionParser::conjunction() {
  const int line = stream_.current().line;
  Expr* left = negation();
  while (stream_.skip_name("and")) {
    Expr* right = negation();
    left = make(line, LogicExpr{true, left, right}, {left, right});
  }
  return left;
}

Expr* ExpressionParser::negation() {
  if (!stream_.at_name("not")) return comparison();
  const TokenStream::Nested nested(stream_);
  const int line = stream_.take().line;
  Expr* operand = negation();
  return make(line, NotExpr{operand}, {operand});
}

Expr* ExpressionParser::comparison() {
  const int line = stream_.current().line;
  Expr* first = sum();
  CompareExpr node{first, {}};
  int height = first->height;
  for (;;) {
    const auto row = find_operator(kComparisons, stream_.current());
    Comparison op = Comparison::In;
    if (row != kComparisons.end()) {
      op = row->second;
      stream_.take();
    } else if (stream_.at_name("not") && TokenStream::is_name(stream_.look(), "in")) {
      op = Comparison::NotIn;
      stream_.take();
      stream_.take();
    } else if (!stream_.skip_name("in")) {
      break;
    }
    node.rest.emplace_back(op, sum());
    height = std::max(height, node.rest.back().second->height);
  }
  if (node.rest.empty()) return first;
  Expr* result = make(line, std::move(node), {first});
  result->height = height + 1;
  return result;
}

Expr* ExpressionParser::sum() {
  const int line = stream_.current().line;
  Expr* left = concatenation();
  while (stream_.at_operator("+") || stream_.at_operator("-")) {
    const auto op = stream_.take().text == "+" ? BinaryOperator::Add : BinaryOperator::Subtract;
    Expr* right = concatenation();
    left = make(line, BinaryExpr{op, left, right}, {left, right});
  }
  return left;
}

Expr* ExpressionParser::concatenation() {
  const int line = stream_.current().line;
  Expr* first = product();
  if (!stream_.at_operator("~")) return first;
  ConcatExpr node{{first}};
  int height = first->height;
  while (stream_.skip_operator("~")) {
    node.items.push_back(product());
    height = std::max(height, node.items.back()->height);
  }
  Expr* result = make(line, std::move(node), {first});
  result->height = height + 1;
  return result;
}

Expr* ExpressionParser::product() {
  const int line = stream_.current().line;
  Expr* left = power();
  for (;;) {
    const auto row = find_operator(kProducts, stream_.current());
    if (row == kProducts.end()) return left;
    stream_.take();
    Expr* right = power();
    left = make(line, BinaryExpr{row->second, left, right}, {left, right});
  }
}

// From left to right, unlike Python's.
Expr* ExpressionParser::power() {
  const int line = stream_.current().line;
  Expr* left = unary(true);
  while (stream_.skip_operator("**")) {
    Expr* right = unary(true);
    left = make(line, BinaryExpr{BinaryOperator::Power, left, right}, {left, right});
  }
  return left;
}

Expr* ExpressionParser::unary(bool with_filters) {
  const int line = stream_.current().line;
  Expr* node = nullptr;
  if (stream_.at_operator("-") || stream_.at_operator("+")) {
    const TokenStream::Nested nested(stream_);
    const bool negative = stream_.take().text == "-";
    Expr* operand = unary(false);
    node = make(line, SignExpr{negative, operand}, {operand});
  } else {
    node = primary();
  }
  node = postfix(node);
  return with_filters ? filter_expressions(node) : node;
}

Expr* ExpressionParser::primary() {
  const Token& token = stream_.current();
  switch (token.kind) {
    case TokenKind::Name:
      return name();
    case TokenKind::String:
      return string();
    case TokenKind::Number: {
      const Token& number = stream_.take();
      return make(number.line, Constant{number.number});
    }
    default:
      break;
  }
  if (stream_.skip_operator("(")) {
    const TokenStream::Nested nested(stream_);
    TupleRules rules;
    rules.explicit_parentheses = true;
    Expr* node = tuple(rules);
    stream_.expect_operator(")");
    return node;
  }
  if (stream_.at_operator("[")) return list();
  if (stream_.at_operator("{")) return dict();
  stream_.fail("unexpected " + TokenStream::describe(token));
}

Expr* ExpressionParser::name() {
  const Token& token = stream_.take();
  if (token.text == "true" || token.text == "True")
    return make(token.line, Constant{Value::boolean(true)});
  if (token.text == "false" || token.text == "False")
    return make(token.line, Constant{Value::boolean(false)});
  if (token.text == "none" || token.text == "None")
    return make(token.line, Constant{Value::none()});
  return make(token.line, NameExpr{make_text(token.text), {}});
}

Expr* ExpressionParser::string() {
  const int line = stream_.current().line;
  std::string text;
  while (stream_.at(TokenKind::String)) text += stream_.take().text;
  return make(line, Constant{Value::string(make_text(std::move(text)))});
}

Expr* ExpressionParser::tuple(const TupleRules& rules) {
  const int line = stream_.current().line;
  TupleExpr node;
  bool is_tuple = false;
  int height = 0;
  for (;;) {
    if (!node.items.empty()) stream_.expect_operator(",");
    if (stream_.at(TokenKind::VariableEnd) || stream_.at(TokenKind::BlockEnd) ||
        stream_.at_operator(")") || (!rules.end_name.empty() && stream_.at_name(rules.end_name)))
      break;
    node.items.push_back(rules.conditional ? conditional() : disjunction());
    height = std::max(height, node.items.back()->height);
    if (!stream_.at_operator(",")) break;
    is_tuple = true;
  }
  if (!is_tuple) {
    if (!node.items.empty()) return node.items.front();
    if (!rules.explicit_parentheses)
      stream_.fail("expected an expression, found " + TokenStream::describe(stream_.current()));
  }
  Expr* result = make(line, std::move(node));
  result->height = height + 1;
  return result;
}

Expr* ExpressionParser::list() {
  const TokenStream::Nested nested(stream_);
  const int line = stream_.take().line;
  ListExpr node;
  int height = 0;
  while (!stream_.at_operator("]")) {
    if (!node.items.empty()) stream_.expect_operator(",");
    if (stream_.at_operator("]")) break;
    node.items.push_back(expression());
    height = std::max(height, node.items.back()->height);
  }
  stream_.expect_operator("]");
  Expr* result = make(line, std::move(node));
  result->height = height + 1;
  return result;
}

Expr* ExpressionParser::dict() {
  const TokenStream::Nested nested(stream_);
  const int line = stream_.take().line;
  DictExpr node;
  int height = 0;
  while (!stream_.at_operator("}")) {
    if (!node.items.empty()) stream_.expect_operator(",");
    if (stream_.at_operator("}")) break;
    Expr* key = expression();
    stream_.expect_operator(":");
    Expr* value = expression();
    node.items.emplace_back(key, value);
    height = std::max({height, key->height, value->height});
  }
  stream_.expect_operator("}");
  Expr* result = make(line, std::move(node));
  result->height = height + 1;
  return result;
}

Expr* ExpressionParser::postfix(Expr* node) {
  for (;;) {
    if (stream_.at_operator(".") || stream_.at_operator("[")) {
      node = subscript(node);
    } else if (stream_.at_operator("(")) {
      node = call(node);
    } else {
      return node;
    }
  }
}

Expr* ExpressionParser::filter_expressions(Expr* node) {
  for (;;) {
    if (stream_.at_operator("|")) {
      node = filters(node, false);
    } else if (stream_.at_name("is")) {
      node = test(node);
    } else if (stream_.at_operator("(")) {
      node = call(node);
    } else {
      return node;
    }
  }
}

Expr* ExpressionParser::subscript(Expr* node) {
  const Token& token = stream_.take();
  if (token.text == ".") {
    const Token& member = stream_.take();
    if (member.kind == TokenKind::Name)
      return make(token.line, AttributeExpr{node, make_text(member.text)}, {node});
    if (member.kind != TokenKind::Number || !member.number.is(Kind::Int))
      stream_.fail_at(member.line, "expected a name or a number behind '.'");
    Expr* key = make(member.line, Constant{member.number});
    return make(token.line, ItemExpr{node, key}, {node, key});
  }
  const TokenStream::Nested nested(stream_);
  bool is_slice = false;
  Expr* first = stream_.at_operator("]") ? nullptr : subscribed(node, is_slice);
  if (first != nullptr && stream_.skip_operator("]"))
    return is_slice ? first : make(token.line, ItemExpr{node, first}, {node, first});
  TupleExpr keys;
  int height = 0;
  for (Expr* key = first; key != nullptr;) {
    if (is_slice) stream_.fail("a slice cannot be one of several indices");
    keys.items.push_back(key);
    height = std::max(height, key->height);
    if (stream_.at_operator("]")) break;
    stream_.expect_operator(",");
    key = stream_.at_operator("]") ? nullptr : subscribed(node, is_slice);
  }
  stream_.expect_operator("]");
  Expr* key = make(token.line, std::move(keys));
  key->height = height + 1;
  return make(token.line, ItemExpr{node, key}, {node, key});
}

// An index, or the whole slice expression of `object`.
Expr* ExpressionParser::subscribed(Expr* object, bool& is_slice) {
  const int line = stream_.current().line;
  const auto at_end = [&] {
    return stream_.at_operator("]") || stream_.at_operator(",") || stream_.at_operator(":");
  };
  Expr* start = stream_.at_operator(":") ? nullptr : expression();
  if (!stream_.skip_operator(":")) return start;
  is_slice = true;
  Expr* stop = at_end() ? nullptr : expression();
  Expr* step = nullptr;
  if (stream_.skip_operator(":") && !at_end()) step = expression();
  return make(line, SliceExpr{object, start, stop, step}, {object, start, stop, step});
}

CallArguments ExpressionParser::call_arguments() {
  const TokenStream::Nested nested(stream_);
  const int line = stream_.current().line;
  stream_.expect_operator("(");
  CallArguments arguments;
  const auto require = [&](bool condition) {
    if (!condition) stream_.fail_at(line, "the arguments of a call are in a wrong order");
  };
  for (bool first = true; !stream_.at_operator(")"); first = false) {
    if (!first) {
      stream_.expect_operator(",");
      if (stream_.at_operator(")")) break;
    }
    if (stream_.skip_operator("*")) {
      require(arguments.star == nullptr && arguments.double_star == nullptr);
      arguments.star = expression();
    } else if (stream_.skip_operator("**")) {
      require(arguments.double_star == nullptr);
      arguments.double_star = expression();
    } else if (stream_.at(TokenKind::Name) && TokenStream::is_operator(stream_.look(), "=")) {
      require(arguments.double_star == nullptr);
      const std::string key = stream_.take().text;
      stream_.take();
      for (const auto& [other, value] : arguments.named)
        if (other->bytes == key) stream_.fail_at(line, "the argument '" + key + "' is given twice");
      arguments.named.emplace_back(make_text(key), expression());
    } else {
      require(arguments.star == nullptr && arguments.double_star == nullptr &&
              arguments.named.empty());
      arguments.positional.push_back(expression());
    }
  }
  stream_.expect_operator(")");
  return arguments;
}

Expr* ExpressionParser::call(Expr* callee) {
  const int line = stream_.current().line;
  return make(line, CallExpr{callee, call_arguments()}, {callee});
}

std::string ExpressionParser::dotted_name() {
  std::string name = stream_.expect(TokenKind::Name, "a name").text;
  while (stream_.skip_operator(".")) name += "." + stream_.expect(TokenKind::Name, "a name").text;
  return name;
}

Expr* ExpressionParser::filters(Expr* input, bool inline_first) {
  while (inline_first || stream_.at_operator("|")) {
    if (!inline_first) stream_.take();
    inline_first = false;
    const int line = stream_.current().line;
    const std::string name = dotted_name();
    CallArguments arguments;
    if (stream_.at_operator("(")) arguments = call_arguments();
    input = make(line, FilterExpr{input, make_text(name), find_filter(name), std::move(arguments)},
                 {input});
  }
  return input;
}

Expr* ExpressionParser::test(Expr* input) {
  const int line = stream_.take().line;
  const bool negated = stream_.skip_name("not");
  const std::string name = dotted_name();
  CallArguments arguments;
  const Token& next = stream_.current();
  const bool starts_value = next.kind == TokenKind::Name || next.kind == TokenKind::String ||
                            next.kind == TokenKind::Number || stream_.at_operator("[") ||
                            stream_.at_operator("{");
  if (stream_.at_operator("(")) {
    arguments = call_arguments();
  } else if (starts_value && !stream_.at_name("else") && !stream_.at_name("or") &&
             !stream_.at_name("and")) {
    if (stream_.at_name("is")) stream_.fail("tests cannot be chained with 'is'");
    arguments.positional.push_back(postfix(primary()));
  }
  Expr* node =
      make(line, TestExpr{input, make_text(name), find_test(name), std::move(arguments)}, {input});
  return negated ? make(line, NotExpr{node}, {node}) : node;
}

Target ExpressionParser::name_target() {
  const Token& token = stream_.expect(TokenKind::Name, "a name");
  if (reserved(token.text)) stream_.fail_at(token.line, "cannot assign to '" + token.text + "'");
  Target target;
  target.name = make_text(token.text);
  return target;
}

Target ExpressionParser::primary_target(bool attributes) {
  if (stream_.skip_operator("(")) {
    const TokenStream::Nested nested(stream_);
    Target inner = target({}, false);
    stream_.expect_operator(")");
    return inner;
  }
  if (!stream_.at(TokenKind::Name))
    stream_.fail("cannot assign to " + TokenStream::describe(stream_.current()));
  Target result = name_target();
  if (attributes && stream_.skip_operator(".")) {
    result.form = Target::Form::Attribute;
    result.attribute = make_text(stream_.expect(TokenKind::Name, "a name").text);
  }
  return result;
}

Target ExpressionParser::target(std::string_view end_name, bool attributes) {
  Target tuple;
  tuple.form = Target::Form::Tuple;
  bool is_tuple = false;
  for (;;) {
    if (!tuple.items.empty()) stream_.expect_operator(",");
    if (stream_.at(TokenKind::VariableEnd) || stream_.at(TokenKind::BlockEnd) ||
        stream_.at_operator(")") || (!end_name.empty() && stream_.at_name(end_name)))
      break;
    tuple.items.push_back(primary_target(attributes));
    if (!stream_.at_operator(",")) break;
    is_tuple = true;
  }
  if (is_tuple) return tuple;
  if (tuple.items.empty()) stream_.fail("expected a name to assign to");
  return tuple.items.front();
}

}  // namespace krasis::jinja
