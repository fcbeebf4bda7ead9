#include "text/jinja/lexer.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <utility>

#include "base/error.h"
#include "text/jinja/literals.h"
#include "text/jinja/unicode.h"

namespace krasis::jinja {
namespace {

// \r\n and \r become \n; one newline at the end goes.
std::string normalize_newlines(std::string_view source) {
  std::string result;
  result.reserve(source.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      result += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      result += source[i];
    }
  }
  if (result.ends_with('\n')) result.pop_back();
  return result;
}

class Lexer {
 public:
  Lexer(std::string_view source, const std::string& name)
      : source_(normalize_newlines(source)), name_(name) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) text();
    add(TokenKind::End, {});
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const { fail_syntax(name_, line_, what); }

  bool starts_with(std::string_view part, std::size_t at) const {
    return std::string_view(source_).substr(std::min(at, source_.size())).starts_with(part);
  }

  void add(TokenKind kind, std::string text) {
    tokens_.push_back({kind, line_, std::move(text), {}});
  }

  void add_data(std::string_view data) {
    if (!data.empty()) add(TokenKind::Data, std::string(data));
  }

  // Moves to `end`, counting lines.
  void advance(std::size_t end) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(at_),
                                         source_.begin() + static_cast<std::ptrdiff_t>(end), '\n'));
    line_starting_ = end > at_ ? source_[end - 1] == '\n' : false;
    at_ = end;
  }

  std::size_t skip_space(std::size_t at) const {
    while (at < source_.size()) {
      std::size_t next = at;
      if (!is_space(next_code_point(source_, next))) break;
      at = next;
    }
    return at;
  }

  // '-' takes all white space before the tag, '+' none; otherwise what stands before a statement
  // or comment on its line goes if it is white space only.
  std::string_view trim_before(std::string_view data, char sign, bool is_variable) const {
    if (sign == '-') return strip_right(data);
    if (sign == '+' || is_variable) return data;
    const std::size_t newline = data.rfind('\n');
    const std::size_t line_start = newline == data.npos ? 0 : newline + 1;
    if (line_start == 0 && !line_starting_) return data;
    return strip_left(data.substr(line_start)).empty() ? data.substr(0, line_start) : data;
  }

  // Where a tag's end `mark` at `at` leads: "-" takes white space, a plain end one newline.
  std::size_t after_end(std::size_t at, char sign, bool trim_newline) const {
    const std::size_t end = at + 2;
    if (sign == '-') return skip_space(end);
    return sign == 0 && trim_newline && end < source_.size() && source_[end] == '\n' ? end + 1
                                                                                     : end;
  }

  char sign_at(std::size_t at) const {
    return at < source_.size() && (source_[at] == '-' || source_[at] == '+') ? source_[at] : '\0';
  }

  void text() {
    std::size_t open = at_;
    for (;; ++open) {
      open = source_.find('{', open);
      if (open == source_.npos || open + 1 >= source_.size()) {
        add_data(std::string_view(source_).substr(at_));
        advance(source_.size());
        return;
      }
      const char next = source_[open + 1];
      if (next == '{' || next == '%' || next == '#') break;
    }
    const char type = source_[open + 1];
    const char sign = sign_at(open + 2);
    add_data(trim_before(std::string_view(source_).substr(at_, open - at_), sign, type == '{'));
    advance(open);
    const std::size_t inside = open + (sign == 0 ? 2 : 3);
    if (type == '#') {
      comment(inside);
    } else if (type == '{') {
      add(TokenKind::VariableBegin, {});
      advance(inside);
      code("}}", TokenKind::VariableEnd);
    } else if (!raw(inside)) {
      add(TokenKind::BlockBegin, {});
      advance(inside);
      code("%}", TokenKind::BlockEnd);
    }
  }

  void comment(std::size_t inside) {
    const std::size_t end = source_.find("#}", inside);
    if (end == source_.npos) fail("a comment is not closed");
    advance(after_end(end, end > inside ? sign_at(end - 1) : '\0', true));
  }

  // {% raw %} ... {% endraw %}; false if this is another statement.
  bool raw(std::size_t inside) {
    std::size_t end = skip_space(inside);
    if (!starts_with("raw", end)) return false;
    end = skip_space(end + 3);
    const bool minus = starts_with("-%}", end);
    if (!minus && !starts_with("%}", end)) return false;
    advance(after_end(end + (minus ? 1 : 0), minus ? '-' : '\0', false));
    for (std::size_t open = at_; (open = source_.find("{%", open)) != source_.npos; ++open) {
      const char sign = sign_at(open + 2);
      std::size_t close = skip_space(open + (sign == 0 ? 2 : 3));
      if (!starts_with("endraw", close)) continue;
      close = skip_space(close + 6);
      const char end_sign = sign_at(close);
      if (end_sign != 0) ++close;
      if (!starts_with("%}", close)) continue;
      add_data(trim_before(std::string_view(source_).substr(at_, open - at_), sign, false));
      advance(after_end(close, end_sign, true));
      return true;
    }
    fail("a raw block is not closed");
  }

  // Tokens up to the end mark; inside brackets the mark is not looked for.
  void code(std::string_view mark, TokenKind end_kind) {
    std::string brackets;  // the closing ones to come
    for (;;) {
      advance_space();
      if (at_ >= source_.size())
        fail(std::string("the template ends inside a tag, '") + std::string(mark) + "' is missing");
      if (brackets.empty() && end_mark(mark, end_kind)) return;
      const std::size_t start = at_;
      const Literal number = scan_number(source_, at_);
      if (number.end > at_) {
        if (number.value.is_missing()) fail("a number does not fit into 64 bits");
        tokens_.push_back({TokenKind::Number, line_, {}, number.value});
        advance(number.end);
      } else if (const std::size_t end = scan_name(); end > start) {
        add(TokenKind::Name, source_.substr(start, end - start));
        advance(end);
      } else if (source_[at_] == '\'' || source_[at_] == '"') {
        string();
      } else {
        symbol(brackets);
      }
    }
  }

  void advance_space() {
    const std::size_t end = skip_space(at_);
    if (end > at_) advance(end);
  }

  bool end_mark(std::string_view mark, TokenKind end_kind) {
    char sign = sign_at(at_);
    if (sign == '+' && end_kind == TokenKind::VariableEnd) sign = 0;
    const std::size_t at = at_ + (sign == 0 ? 0 : 1);
    if (!starts_with(mark, at)) return false;
    add(end_kind, {});
    advance(after_end(at, sign, end_kind == TokenKind::BlockEnd));
    return true;
  }

  std::size_t scan_name() const {
    std::size_t end = at_;
    while (end < source_.size()) {
      std::size_t next = end;
      const char32_t c = next_code_point(source_, next);
      const bool ascii_word =
          (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c >= '0' && c <= '9');
      if (c < 0x80 ? !ascii_word : !is_identifier_part(c)) break;
      if (end == at_ && c >= 0x80 && !is_identifier_start(c)) break;
      end = next;
    }
    return end;
  }

  void string() {
    const char quote = source_[at_];
    std::size_t end = at_ + 1;
    for (; end < source_.size() && source_[end] != quote; ++end)
      if (source_[end] == '\\') ++end;
    if (end >= source_.size()) fail("a string is not closed");
    std::string what;
    auto content = unescape(std::string_view(source_).substr(at_ + 1, end - at_ - 1), what);
    if (!content) fail(what);
    add(TokenKind::String, std::move(*content));
    advance(end + 1);
  }

  void symbol(std::string& brackets) {
    static constexpr std::array<std::string_view, 6> kLong = {"//", "**", "==", "!=", ">=", "<="};
    const auto it = std::find_if(kLong.begin(), kLong.end(),
                                 [&](std::string_view s) { return starts_with(s, at_); });
    const char c = source_[at_];
    if (it != kLong.end()) {
      add(TokenKind::Operator, std::string(*it));
      advance(at_ + it->size());
      return;
    }
    if (std::string_view("+-/*%~[](){}><=.:|,;").find(c) == std::string_view::npos) {
      std::size_t end = at_;
      next_code_point(source_, end);
      fail("unexpected character '" + source_.substr(at_, end - at_) + "'");
    }
    if (c == '(' || c == '[' || c == '{') brackets += c == '(' ? ')' : c == '[' ? ']' : '}';
    if (c == ')' || c == ']' || c == '}') {
      if (brackets.empty()) fail(std::string("unexpected '") + c + "'");
      if (brackets.back() != c)
        fail(std::string("unexpected '") + c + "', expected '" + brackets.back() + "'");
      brackets.pop_back();
    }
    add(TokenKind::Operator, std::string(1, c));
    advance(at_ + 1);
  }

  std::string source_;
  const std::string& name_;
  std::size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

void fail_syntax(const std::string& name, int line, const std::string& what) {
  throw Error(ErrorCode::InvalidArgument,
              "chat template: " + name + ":" + std::to_string(line) + ": " + what);
}

std::vector<Token> tokenize(std::string_view source, const std::string& name) {
  if (!valid_utf8(source)) fail_syntax(name, 1, "the template is not valid UTF-8");
  return Lexer(source, name).run();
}

}  // namespace krasis::jinja
