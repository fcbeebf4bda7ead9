// UTF-8 by hand: stepping through text, and making any bytes valid. Ill-formed input is replaced
// the way the Unicode standard recommends (chapter 3.9, "U+FFFD substitution of maximal subparts"):
// every maximal prefix of a well-formed sequence, or else every single byte, becomes one U+FFFD.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace krasis::utf8 {

inline constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

enum class Step : std::uint8_t {
  Valid,
  Invalid,     // `length` bytes are one maximal subpart
  Incomplete,  // all that is left is a proper prefix of a well-formed sequence
};

struct Sequence {
  Step step;
  std::size_t length;  // bytes, at least 1
};

// The sequence that starts `bytes`, which is not empty.
Sequence next_sequence(std::string_view bytes);

// `bytes` itself where it is valid UTF-8, otherwise a repaired copy kept in `buffer`.
std::string_view make_valid(std::string_view bytes, std::string& buffer);

struct CodePoint {
  char32_t value;
  std::uint32_t length;  // bytes, 1 to 4
};

// The code point that starts at `text`, which must be valid UTF-8.
inline CodePoint decode(const char* text) {
  const auto byte = [text](int i) {
    return static_cast<std::uint32_t>(static_cast<unsigned char>(text[i]));
  };
  const std::uint32_t first = byte(0);
  if (first < 0x80) return {first, 1};
  if (first < 0xE0) return {(first & 0x1F) << 6 | (byte(1) & 0x3F), 2};
  if (first < 0xF0) return {(first & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F), 3};
  return {(first & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F),
          4};
}

void append(std::string& text, char32_t code_point);

inline bool is_continuation(char byte) {
  return (static_cast<unsigned char>(byte) & 0xC0) == 0x80;
}

// Turns bytes that arrive in arbitrary cuts into valid UTF-8, holding back only what may still
// become a whole sequence (at most 3 bytes).
class Repair {
 public:
  void push(std::string_view bytes, std::string& out);
  void finish(std::string& out);  // an incomplete rest becomes one U+FFFD

 private:
  std::string pending_;
};

}  // namespace krasis::utf8
