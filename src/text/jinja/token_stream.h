// The tokens of a template with a place in them; what both halves of the parser share.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/lexer.h"
#include "text/jinja/limits.h"
#include "text/jinja/syntax.h"

namespace krasis::jinja {

class TokenStream {
 public:
  TokenStream(std::vector<Token> tokens, Tree& tree) : tokens_(std::move(tokens)), tree_(tree) {}

  const Token& current() const { return tokens_[at_]; }
  const Token& look() const { return tokens_[at_ + 1 < tokens_.size() ? at_ + 1 : at_]; }
  const Token& take() {
    const Token& token = tokens_[at_];
    if (at_ + 1 < tokens_.size()) ++at_;
    return token;
  }
  bool at(TokenKind kind) const { return current().kind == kind; }
  bool at_name(std::string_view name) const { return is_name(current(), name); }
  bool at_operator(std::string_view text) const { return is_operator(current(), text); }
  bool skip_name(std::string_view name) { return at_name(name) && (take(), true); }
  bool skip_operator(std::string_view text) { return at_operator(text) && (take(), true); }
  void expect_operator(std::string_view text) {
    if (!skip_operator(text)) fail_expected("'" + std::string(text) + "'");
  }
  void expect_name(std::string_view name) {
    if (!skip_name(name)) fail_expected("'" + std::string(name) + "'");
  }
  const Token& expect(TokenKind kind, const char* what) {
    if (!at(kind)) fail_expected(what);
    return take();
  }

  static bool is_name(const Token& t, std::string_view name) {
    return t.kind == TokenKind::Name && t.text == name;
  }
  static bool is_operator(const Token& t, std::string_view text) {
    return t.kind == TokenKind::Operator && t.text == text;
  }

  [[noreturn]] void fail(const std::string& what) const {
    fail_syntax(tree_.name, current().line, what);
  }
  [[noreturn]] void fail_at(int line, const std::string& what) const {
    fail_syntax(tree_.name, line, what);
  }
  [[noreturn]] void fail_expected(const std::string& what) const {
    fail("expected " + what + ", found " + describe(current()));
  }
  static std::string describe(const Token& token);

  Tree& tree() { return tree_; }

  // One level of brackets or blocks.
  class Nested {
   public:
    explicit Nested(TokenStream& stream) : stream_(stream) {
      if (++stream_.depth_ > kMaxSourceNesting) stream_.fail("the template is nested too deeply");
    }
    ~Nested() { --stream_.depth_; }
    Nested(const Nested&) = delete;
    Nested& operator=(const Nested&) = delete;

   private:
    TokenStream& stream_;
  };

 private:
  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  int depth_ = 0;
  Tree& tree_;
};

}  // namespace krasis::jinja
