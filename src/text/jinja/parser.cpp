#include "text/jinja/parser.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/expression_parser.h"
#include "text/jinja/scope.h"

namespace krasis::jinja {
namespace {

using Names = std::vector<std::string_view>;

class Parser {
 public:
  explicit Parser(TokenStream& stream) : stream_(stream), expressions_(stream) {}

  void run() {
    stream_.tree().body = body({});
    if (!stream_.at(TokenKind::End))
      stream_.fail("unexpected " + TokenStream::describe(stream_.current()));
  }

 private:
  template <typename Node>
  Stmt* make(int line, Node node) {
    Stmt& stmt = stream_.tree().stmts.emplace_back();
    stmt.line = line;
    stmt.node = std::move(node);
    return &stmt;
  }

  bool at_any(const Names& names) const {
    return stream_.at(TokenKind::Name) &&
           std::find(names.begin(), names.end(), stream_.current().text) != names.end();
  }

  // Up to one of the end tags, of which the name is the current token then.
  Body body(const Names& ends) {
    const TokenStream::Nested nested(stream_);
    Body result;
    while (!stream_.at(TokenKind::End)) {
      const Token& token = stream_.take();
      if (token.kind == TokenKind::Data) {
        result.push_back(make(token.line, DataStmt{token.text}));
      } else if (token.kind == TokenKind::VariableBegin) {
        result.push_back(make(token.line, OutputStmt{{expressions_.tuple({})}}));
        stream_.expect(TokenKind::VariableEnd, "'}}'");
      } else {
        if (at_any(ends)) return result;
        result.push_back(statement(ends));
        stream_.expect(TokenKind::BlockEnd, "'%}'");
      }
    }
    if (!ends.empty()) stream_.fail("the template ends before '" + std::string(ends.back()) + "'");
    return result;
  }

  // The rest of a tag's opening, its body and, with `drop`, the name of its end tag.
  Body block(const Names& ends, bool drop) {
    stream_.skip_operator(":");
    stream_.expect(TokenKind::BlockEnd, "'%}'");
    Body result = body(ends);
    if (drop) stream_.take();
    return result;
  }

  using Method = Stmt* (Parser::*)();
  struct Row {
    std::string_view tag;
    Method method;
  };

  Stmt* statement(const Names& ends) {
    static constexpr std::array<Row, 17> kRows = {{{"for", &Parser::for_statement},
                                                   {"if", &Parser::if_statement},
                                                   {"set", &Parser::set_statement},
                                                   {"macro", &Parser::macro_statement},
                                                   {"call", &Parser::call_statement},
                                                   {"filter", &Parser::filter_statement},
                                                   {"with", &Parser::with_statement},
                                                   {"block", &Parser::block_statement},
                                                   {"print", &Parser::print_statement},
                                                   {"break", &Parser::break_statement},
                                                   {"continue", &Parser::continue_statement},
                                                   {"generation", &Parser::generation_statement},
                                                   {"autoescape", &Parser::autoescape_statement},
                                                   {"extends", &Parser::foreign_statement},
                                                   {"include", &Parser::foreign_statement},
                                                   {"import", &Parser::foreign_statement},
                                                   {"from", &Parser::foreign_statement}}};
    if (!stream_.at(TokenKind::Name)) stream_.fail_expected("a statement's name");
    const auto row = std::find_if(kRows.begin(), kRows.end(),
                                  [&](const Row& r) { return stream_.at_name(r.tag); });
    if (row != kRows.end()) return (this->*row->method)();
    std::string what = "there is no statement '" + stream_.current().text + "'";
    if (!ends.empty()) what += " (and '" + std::string(ends.back()) + "' is still to come)";
    stream_.fail(what);
  }

  Stmt* for_statement() {
    const int line = stream_.take().line;
    ForStmt node;
    node.target = expressions_.target("in", false);
    stream_.expect_name("in");
    ExpressionParser::TupleRules rules;
    rules.conditional = false;
    rules.end_name = "recursive";
    node.iterable = expressions_.tuple(rules);
    if (stream_.skip_name("if")) node.test = expressions_.expression();
    node.recursive = stream_.skip_name("recursive");
    const int function_loops = loops_;
    loops_ = node.recursive ? 1 : loops_ + 1;
    node.body = block({"else", "endfor"}, false);
    // The else part runs outside of the loop; that of a recursive loop outside of any.
    loops_ = node.recursive ? 0 : function_loops;
    if (stream_.take().text == "else") node.otherwise = block({"endfor"}, true);
    loops_ = function_loops;
    return make(line, std::move(node));
  }

  Stmt* if_statement() {
    const int line = stream_.take().line;
    IfStmt node;
    ExpressionParser::TupleRules rules;
    rules.conditional = false;
    for (;;) {
      Expr* test = expressions_.tuple(rules);
      node.branches.push_back({test, block({"elif", "else", "endif"}, false)});
      const std::string tag = stream_.take().text;
      if (tag == "elif") continue;
      if (tag == "else") node.otherwise = block({"endif"}, true);
      return make(line, std::move(node));
    }
  }

  Stmt* set_statement() {
    const int line = stream_.take().line;
    Target target = expressions_.target({}, true);
    if (stream_.skip_operator("="))
      return make(line, SetStmt{std::move(target), expressions_.tuple({})});
    Expr* filter = expressions_.filters(nullptr, false);
    Body content = block({"endset"}, true);
    return make(line, SetBlockStmt{std::move(target), filter, std::move(content), {}});
  }

  void signature(MacroBody& macro) {
    stream_.expect_operator("(");
    while (!stream_.at_operator(")")) {
      if (!macro.parameters.empty()) stream_.expect_operator(",");
      const Target parameter = expressions_.name_target();
      for (const TextPtr& other : macro.parameters) {
        if (other->bytes == parameter.name->bytes)
          stream_.fail("the parameter '" + other->bytes + "' is given twice");
      }
      macro.parameters.push_back(parameter.name);
      if (stream_.skip_operator("=")) {
        macro.defaults.push_back(expressions_.expression());
      } else if (!macro.defaults.empty()) {
        stream_.fail("a parameter without a default follows one that has a default");
      }
    }
    stream_.expect_operator(")");
  }

  // A function of its own: loops around it cannot be left from inside.
  Body function_block(std::string_view end) {
    const int loops = std::exchange(loops_, 0);
    Body result = block({end}, true);
    loops_ = loops;
    return result;
  }

  Stmt* macro_statement() {
    MacroStmt node;
    const int line = stream_.take().line;
    node.target = expressions_.name_target();
    node.macro.name = node.target.name;
    node.macro.line = line;
    signature(node.macro);
    node.macro.body = function_block("endmacro");
    return make(line, std::move(node));
  }

  Stmt* call_statement() {
    CallStmt node;
    const int line = stream_.take().line;
    node.macro.name = make_text("caller");
    node.macro.line = line;
    if (stream_.at_operator("(")) signature(node.macro);
    node.call = expressions_.expression();
    if (!std::holds_alternative<CallExpr>(node.call->node))
      stream_.fail_at(line, "a call block needs a call");
    node.macro.body = function_block("endcall");
    return make(line, std::move(node));
  }

  Stmt* filter_statement() {
    const int line = stream_.take().line;
    Expr* filter = expressions_.filters(nullptr, true);
    return make(line, FilterStmt{filter, block({"endfilter"}, true), {}});
  }

  Stmt* with_statement() {
    const int line = stream_.take().line;
    WithStmt node;
    while (!stream_.at(TokenKind::BlockEnd) && !stream_.at_operator(":")) {
      if (!node.targets.empty()) stream_.expect_operator(",");
      node.targets.push_back(expressions_.target({}, false));
      stream_.expect_operator("=");
      node.values.push_back(expressions_.expression());
    }
    node.body = block({"endwith"}, true);
    return make(line, std::move(node));
  }

  Stmt* block_statement() {
    const int line = stream_.take().line;
    BlockStmt node;
    node.name = make_text(stream_.expect(TokenKind::Name, "a block's name").text);
    if (stream_.at_name("scoped") || stream_.at_name("required"))
      stream_.fail("blocks cannot be scoped or required here");
    node.body = function_block("endblock");
    stream_.skip_name(node.name->bytes);
    Stmt* stmt = make(line, std::move(node));
    const auto& made = std::get<BlockStmt>(stmt->node);
    if (!stream_.tree().blocks.emplace(made.name->bytes, &made).second)
      stream_.fail_at(line, "the block '" + made.name->bytes + "' is defined twice");
    return stmt;
  }

  Stmt* print_statement() {
    const int line = stream_.take().line;
    OutputStmt node;
    while (!stream_.at(TokenKind::BlockEnd)) {
      if (!node.items.empty()) stream_.expect_operator(",");
      node.items.push_back(expressions_.expression());
    }
    return make(line, std::move(node));
  }

  void require_loop(const Token& token) const {
    if (loops_ == 0) stream_.fail_at(token.line, "'" + token.text + "' outside of a loop");
  }

  Stmt* break_statement() {
    const Token& token = stream_.take();
    require_loop(token);
    return make(token.line, BreakStmt{});
  }

  Stmt* continue_statement() {
    const Token& token = stream_.take();
    require_loop(token);
    return make(token.line, ContinueStmt{});
  }

  Stmt* generation_statement() {
    const int line = stream_.take().line;
    return make(line, ScopedStmt{function_block("endgeneration"), {}, true});
  }

  Stmt* autoescape_statement() {
    const int line = stream_.take().line;
    if (!stream_.skip_name("false") && !stream_.skip_name("False"))
      stream_.fail_at(line, "autoescape can only be false: what is rendered is a prompt, not HTML");
    return make(line, ScopedStmt{block({"endautoescape"}, true), {}, false});
  }

  Stmt* foreign_statement() {
    const Token& tag = stream_.take();
    ForeignStmt node;
    node.tag = tag.text;
    node.source = expressions_.expression();
    if (tag.text == "import") {
      stream_.expect_name("as");
      node.targets.push_back(expressions_.name_target());
    } else if (tag.text == "from") {
      stream_.expect_name("import");
      imported_names(node);
    }
    while (stream_.skip_name("ignore") || stream_.skip_name("missing") ||
           stream_.skip_name("with") || stream_.skip_name("without") ||
           stream_.skip_name("context")) {
    }
    return make(tag.line, std::move(node));
  }

  void imported_names(ForeignStmt& node) {
    do {
      Target target = expressions_.name_target();
      if (stream_.skip_name("as")) target = expressions_.name_target();
      node.targets.push_back(std::move(target));
    } while (stream_.skip_operator(","));
  }

  TokenStream& stream_;
  ExpressionParser expressions_;
  int loops_ = 0;  // around the current place, within its function
};

}  // namespace

std::string TokenStream::describe(const Token& token) {
  switch (token.kind) {
    case TokenKind::Data:
      return "text";
    case TokenKind::BlockBegin:
      return "'{%'";
    case TokenKind::BlockEnd:
      return "'%}'";
    case TokenKind::VariableBegin:
      return "'{{'";
    case TokenKind::VariableEnd:
      return "'}}'";
    case TokenKind::Name:
    case TokenKind::Operator:
      return "'" + token.text + "'";
    case TokenKind::String:
      return "a string";
    case TokenKind::Number:
      return "a number";
    case TokenKind::End:
      return "the end of the template";
  }
  return "a token";
}

std::unique_ptr<Tree> parse(std::string_view source, const std::string& name) {
  auto tree = std::make_unique<Tree>();
  tree->name = name;
  TokenStream stream(tokenize(source, name), *tree);
  Parser(stream).run();
  resolve_scopes(*tree);
  return tree;
}

}  // namespace krasis::jinja
