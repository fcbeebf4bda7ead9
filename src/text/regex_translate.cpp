#include "text/regex_translate.h"

#include <fmt/format.h>
#include <optional>
#include <utility>
#include <vector>

#include "base/error.h"
#include "text/regex_class.h"
#include "text/utf8.h"

namespace krasis::text {
namespace {

constexpr int kMaxNesting = 64;  // of character classes; PCRE2 limits groups itself

class Translator {
 public:
  explicit Translator(std::string_view pattern) : pattern_(pattern) {}

  std::string run() {
    groups_.push_back({.start = 0});
    while (at_ < pattern_.size()) step();
    if (groups_.size() != 1) refuse("a group that is not closed");
    return out_ + std::string(groups_.back().extra, ')');
  }

 private:
  struct Group {
    std::size_t start;      // in out_
    std::size_t extra = 0;  // groups opened by options in mid-group, closed together with it
  };
  struct Escape {
    std::optional<char32_t> literal;
    RegexClass set;  // where there is no literal
    bool negated = false;
  };

  [[noreturn]] void refuse(const std::string& what) const {
    throw Error(ErrorCode::Unsupported,
                fmt::format("regular expression: \"{}\": {} is not supported", pattern_, what));
  }

  bool looking_at(std::string_view text) const { return pattern_.substr(at_).starts_with(text); }
  bool take(std::string_view text) {
    if (!looking_at(text)) return false;
    at_ += text.size();
    return true;
  }
  char32_t next() {
    if (at_ >= pattern_.size()) refuse("an unfinished expression");
    const utf8::CodePoint c = utf8::decode(pattern_.data() + at_);
    at_ += c.length;
    return c.value;
  }

  void atom(const std::string& text) {
    atom_ = out_.size();
    out_ += text;
  }

  void step() {
    const char32_t c = next();
    switch (c) {
      case '\\':
        return escape_outside();
      case '[':
        return atom(parse_class(0));
      case '(':
        return open_group();
      case ')':
        return close_group();
      case '|':
        out_ += '|';
        atom_.reset();
        return;
      case '.':
        return atom(".");
      case '^':
      case '$':
        return atom(std::string(1, static_cast<char>(c)));
      case '*':
      case '+':
      case '?':
        out_ += static_cast<char>(c);
        if (take("?")) {
          out_ += '?';
        } else if (take("+")) {
          out_ += '+';
        }
        return;
      case '{':
        if (!interval()) atom(escaped('{'));
        return;
      default:
        return atom(escaped(c));
    }
  }

  // {n} {n,} {,m} {n,m} after an atom; false where the brace is a literal.
  bool interval() {
    const std::size_t end = pattern_.find('}', at_);
    if (end == std::string_view::npos || !atom_) return false;
    const std::string_view body = pattern_.substr(at_, end - at_);
    if (body.empty() || body == "," ||
        body.find_first_not_of("0123456789,") != std::string_view::npos)
      return false;
    const std::size_t comma = body.find(',');
    const bool exact = comma == std::string_view::npos;
    if (!exact && body.find(',', comma + 1) != std::string_view::npos) return false;
    at_ = end + 1;
    out_ += (comma == 0 ? "{0" : "{") + std::string(body) + "}";
    if (looking_at("+") || (exact && looking_at("?"))) {
      out_.insert(*atom_, "(?:");  // the next quantifier applies to the repeated atom
      out_ += ')';
    } else if (take("?")) {
      out_ += '?';
    }
    return true;
  }

  void open_group() {
    const std::size_t start = out_.size();
    if (!take("?")) {
      out_ += '(';
    } else if (take("#")) {
      const std::size_t end = pattern_.find(')', at_);
      if (end == std::string_view::npos) refuse("an unfinished comment");
      at_ = end + 1;
      return;
    } else if (looking_at(":") || looking_at("=") || looking_at("!") || looking_at(">")) {
      out_ += std::string("(?") + static_cast<char>(next());
    } else if (take("<=")) {
      out_ += "(?<=";
    } else if (take("<!")) {
      out_ += "(?<!";
    } else if (looking_at("<")) {
      refuse("a named group");
    } else {
      return open_options(start);
    }
    groups_.push_back({.start = start});
    atom_.reset();
  }

  // (?i-m:...) is a group; (?i) reaches to the end of the group around it.
  void open_options(std::size_t start) {
    std::string options;
    while (!looking_at(":") && !looking_at(")")) {
      const char32_t c = next();
      if (c == 'i' || c == '-') {
        options += static_cast<char>(c);
      } else if (c == 'm') {
        options += 's';
      } else {
        refuse(fmt::format("the option {}", escaped(c)));
      }
    }
    out_ += "(?" + options + ":";
    if (next() == ':') {
      groups_.push_back({.start = start});
    } else {
      ++groups_.back().extra;
    }
    atom_.reset();
  }

  void close_group() {
    if (groups_.size() == 1) refuse("a ) without its (");
    out_.append(groups_.back().extra + 1, ')');
    atom_ = groups_.back().start;
    groups_.pop_back();
  }

  void escape_outside() {
    if (at_ >= pattern_.size()) refuse("a \\ at the end");
    const char c = pattern_[at_];
    if (c == 'b' || c == 'B') {
      ++at_;
      const std::string word = word_class().expression(false);
      const std::string a = c == 'b' ? "!" : "=";
      const std::string b = c == 'b' ? "=" : "!";
      return atom("(?:(?<=" + word + ")(?" + a + word + ")|(?<!" + word + ")(?" + b + word + "))");
    }
    if (c == 'A' || c == 'z' || c == 'Z' || c == 'G' || c == 'R' || c == 'X' ||
        (c >= '1' && c <= '9')) {
      ++at_;
      return atom(std::string("\\") + c);
    }
    const Escape escape = parse_escape();
    atom(escape.literal ? escaped(*escape.literal) : escape.set.expression(escape.negated));
  }

  // After the backslash: a code point or a set.
  Escape parse_escape() {
    const char32_t c = next();
    switch (c) {
      case 'd':
      case 'D':
        return {.literal = {}, .set = property_class("Nd"), .negated = c == 'D'};
      case 'w':
      case 'W':
        return {.literal = {}, .set = word_class(), .negated = c == 'W'};
      case 's':
      case 'S':
        return {.literal = {}, .set = space_class(), .negated = c == 'S'};
      case 'h':
      case 'H':
        return {.literal = {}, .set = hex_class(), .negated = c == 'H'};
      case 'p':
      case 'P':
        return parse_property(c == 'P');
      case 'n':
        return {.literal = '\n', .set = {}};
      case 't':
        return {.literal = '\t', .set = {}};
      case 'r':
        return {.literal = '\r', .set = {}};
      case 'f':
        return {.literal = '\f', .set = {}};
      case 'v':
        return {.literal = '\v', .set = {}};
      case 'a':
        return {.literal = '\a', .set = {}};
      case 'e':
        return {.literal = 0x1B, .set = {}};
      case 'x':
        return {.literal = parse_hex_escape(), .set = {}};
      case 'u':
        return {.literal = parse_hex(4, 4), .set = {}};
      default:
        break;
    }
    const bool letter_or_digit =
        (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    if (letter_or_digit) refuse(fmt::format("\\{}", static_cast<char>(c)));
    return {.literal = c, .set = {}};
  }

  Escape parse_property(bool negated) {
    const std::size_t end = pattern_.find('}', at_);
    if (!take("{") || end == std::string_view::npos) refuse("\\p without {name}");
    if (take("^")) negated = !negated;
    const std::string_view name = pattern_.substr(at_, end - at_);
    if (name.empty() ||
        name.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                               "0123456789_- ") != std::string_view::npos)
      refuse(fmt::format("\\p{{{}}}", name));
    at_ = end + 1;
    return {.literal = {}, .set = property_class(name), .negated = negated};
  }

  char32_t parse_hex_escape() {
    if (!take("{")) {
      const char32_t value = parse_hex(1, 2);
      if (value >= 0x80) refuse("a \\x byte of 80 or more");
      return value;
    }
    const char32_t value = parse_hex(1, 8);
    if (!take("}")) refuse("\\x{ without }");
    return value;
  }

  char32_t parse_hex(int min_digits, int max_digits) {
    char32_t value = 0;
    int digits = 0;
    for (; digits < max_digits && at_ < pattern_.size(); ++digits, ++at_) {
      const char c = pattern_[at_];
      if (c >= '0' && c <= '9') {
        value = value * 16 + static_cast<char32_t>(c - '0');
      } else if (c >= 'a' && c <= 'f') {
        value = value * 16 + static_cast<char32_t>(c - 'a' + 10);
      } else if (c >= 'A' && c <= 'F') {
        value = value * 16 + static_cast<char32_t>(c - 'A' + 10);
      } else {
        break;
      }
    }
    const bool surrogate = value >= 0xD800 && value <= 0xDFFF;
    if (digits < min_digits || value > 0x10FFFF || surrogate) refuse("this hexadecimal escape");
    return value;
  }

  // After the opening bracket: an expression of one character.
  std::string parse_class(int depth) {
    if (depth > kMaxNesting) refuse("a class nested this deeply");
    const bool negated = take("^");
    std::vector<RegexClass> operands(1);
    bool first = true;
    while (first || !looking_at("]")) {
      if (!first && take("&&")) {
        operands.emplace_back();
        continue;
      }
      parse_class_item(operands.back(), depth);
      first = false;
    }
    take("]");
    if (operands.size() == 1) return operands[0].expression(negated);
    std::string both = "(?:";
    for (std::size_t i = 1; i < operands.size(); ++i) {
      if (operands[i].items.empty() && operands[i].alternatives.empty()) refuse("an empty &&");
      both += "(?=" + operands[i].expression(false) + ")";
    }
    both += operands[0].expression(false) + ")";
    return negated ? "(?:(?!" + both + ")\\p{Any})" : both;
  }

  void parse_class_item(RegexClass& set, int depth) {
    if (take("[:")) {
      const std::size_t end = pattern_.find(":]", at_);
      if (end == std::string_view::npos) refuse("[: without :]");
      const bool negated = take("^");
      const RegexClass named = bracket_class(pattern_.substr(at_, end - at_));
      at_ = end + 2;
      return add_set(set, named, negated);
    }
    if (take("[")) {
      set.alternatives.push_back(parse_class(depth + 1));
      return;
    }
    const Escape low = class_character();
    if (!low.literal) return add_set(set, low.set, low.negated);
    const bool range = looking_at("-") && !looking_at("-]") && !looking_at("-&&");
    if (!range) {
      set.items += escaped(*low.literal);
      return;
    }
    take("-");
    if (looking_at("[")) refuse("a range that ends in a class");
    const Escape high = class_character();
    if (!high.literal) refuse("a range that ends in a class");
    set.items += escaped(*low.literal) + "-" + escaped(*high.literal);
  }

  static void add_set(RegexClass& set, const RegexClass& added, bool negated) {
    if (negated) {
      set.alternatives.push_back(added.expression(true));
    } else {
      set.add(added);
    }
  }

  Escape class_character() {
    if (!take("\\")) return {.literal = next(), .set = {}};
    if (take("b")) return {.literal = '\b', .set = {}};
    return parse_escape();
  }

  std::string_view pattern_;
  std::size_t at_ = 0;
  std::string out_;
  std::optional<std::size_t> atom_;  // where in out_ a quantifier's operand starts
  std::vector<Group> groups_;
};

}  // namespace

std::string translate_to_pcre2(std::string_view pattern) {
  return Translator(pattern).run();
}

std::string quote_for_pcre2(std::string_view literal) {
  std::string text;
  for (std::size_t at = 0; at < literal.size();) {
    const utf8::CodePoint c = utf8::decode(literal.data() + at);
    text += escaped(c.value);
    at += c.length;
  }
  return text;
}

}  // namespace krasis::text
