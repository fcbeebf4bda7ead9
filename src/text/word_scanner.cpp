#include "text/word_scanner.h"

#include "text/unicode.h"
#include "text/utf8.h"

namespace krasis::text {
namespace {

constexpr std::string_view kOneDigit =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kThreeDigits =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

using unicode::kLetter;
using unicode::kLineEnd;
using unicode::kNumber;
using unicode::kSpace;

constexpr std::uint8_t kWordBreaking = kLetter | kNumber | kSpace;  // not in [^\s\p{L}\p{N}]

struct Text {
  std::string_view bytes;
  const std::uint8_t* classes;

  struct Character {
    std::uint8_t bits;
    std::uint32_t length;
  };
  Character at(std::size_t i) const {
    const auto first = static_cast<unsigned char>(bytes[i]);
    if (first < 0x80) return {classes[first], 1};
    const utf8::CodePoint c = utf8::decode(bytes.data() + i);
    return {classes[c.value], c.length};
  }
  // The end of the run of characters from `i` that have one of `bits` (or, inverted, none).
  std::size_t run(std::size_t i, std::uint8_t bits, bool with) const {
    while (i < bytes.size()) {
      const Character c = at(i);
      if (((c.bits & bits) != 0) != with) break;
      i += c.length;
    }
    return i;
  }
};

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

// Bytes of 's 't 're 've 'm 'll 'd at `i`, in any case, or 0. U+017F is an s in another case.
std::size_t contraction(std::string_view text, std::size_t i) {
  if (text[i] != '\'' || i + 1 >= text.size()) return 0;
  const char a = lower(text[i + 1]);
  if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
  if (text.substr(i + 1).starts_with("\xC5\xBF")) return 3;
  if (i + 2 >= text.size()) return 0;
  const char b = lower(text[i + 2]);
  const bool two = (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l');
  return two ? 3 : 0;
}

// \s*[\r\n]+ | \s+(?!\S) | \s+ at `begin`, where there is white space.
std::size_t space_end(const Text& text, std::size_t begin) {
  std::size_t last = begin;    // start of the last character of the run
  std::size_t after_line = 0;  // end of the last line end in it
  std::size_t end = begin;
  while (end < text.bytes.size()) {
    const Text::Character c = text.at(end);
    if ((c.bits & kSpace) == 0) break;
    last = end;
    end += c.length;
    if ((c.bits & kLineEnd) != 0) after_line = end;
  }
  if (after_line != 0) return after_line;
  if (end == text.bytes.size() || last == begin) return end;
  return last;  // the last one belongs to the word that follows
}

}  // namespace

WordScanner::WordScanner(int max_digits)
    : max_digits_(max_digits), classes_(unicode::class_table()) {}

std::optional<WordScanner> WordScanner::for_pattern(std::string_view pattern) {
  if (pattern == kOneDigit) return WordScanner(1);
  if (pattern == kThreeDigits) return WordScanner(3);
  return std::nullopt;
}

std::size_t WordScanner::word_end(std::string_view bytes, std::size_t begin) const {
  const Text text{bytes, classes_};
  const Text::Character first = text.at(begin);
  std::size_t end = begin + first.length;
  if ((first.bits & kLetter) != 0) return text.run(end, kLetter, true);
  if ((first.bits & kNumber) != 0) {
    for (int digits = 1; digits < max_digits_ && end < bytes.size(); ++digits) {
      const Text::Character c = text.at(end);
      if ((c.bits & kNumber) == 0) break;
      end += c.length;
    }
    return end;
  }
  if (const std::size_t length = contraction(bytes, begin); length != 0) return begin + length;
  if ((first.bits & kLineEnd) != 0) return space_end(text, begin);
  if (end < bytes.size()) {
    const std::uint8_t next = text.at(end).bits;
    if ((next & kLetter) != 0) return text.run(end, kLetter, true);
    const bool before_symbols = bytes[begin] == ' ' && (next & kWordBreaking) == 0;
    if ((first.bits & kSpace) != 0 && !before_symbols) return space_end(text, begin);
  } else if ((first.bits & kSpace) != 0) {
    return end;
  }
  end = text.run(end, kWordBreaking, false);
  return text.run(end, kLineEnd, true);
}

}  // namespace krasis::text
