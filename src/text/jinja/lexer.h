// A template's source as tokens, with the white space rules of an environment that has trim_blocks
// and lstrip_blocks on and keeps no trailing newline.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/value.h"

namespace krasis::jinja {

enum class TokenKind : std::uint8_t {
  Data,
  BlockBegin,
  BlockEnd,
  VariableBegin,
  VariableEnd,
  Name,
  String,
  Number,
  Operator,
  End,
};

struct Token {
  TokenKind kind = TokenKind::End;
  int line = 1;
  std::string text;  // data, name, operator, or a string's content
  Value number;      // Int or Float
};

// Throws Error(InvalidArgument, "chat template: NAME:LINE: ...").
std::vector<Token> tokenize(std::string_view source, const std::string& name);

[[noreturn]] void fail_syntax(const std::string& name, int line, const std::string& what);

}  // namespace krasis::jinja
