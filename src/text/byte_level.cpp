#include "text/byte_level.h"

#include <array>

#include "text/utf8.h"

namespace krasis::text {
namespace {

constexpr std::size_t kCharacters = 0x100 + 68;

constexpr bool stands_for_itself(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

struct Alphabet {
  std::array<std::uint16_t, 256> character{};
  std::array<std::int16_t, kCharacters> byte{};  // -1: not in the alphabet
};

constexpr Alphabet make_alphabet() {
  Alphabet alphabet;
  for (auto& byte : alphabet.byte) byte = -1;
  int next = 0x100;
  for (int b = 0; b < 256; ++b) {
    const int c = stands_for_itself(b) ? b : next++;
    alphabet.character[static_cast<std::size_t>(b)] = static_cast<std::uint16_t>(c);
    alphabet.byte[static_cast<std::size_t>(c)] = static_cast<std::int16_t>(b);
  }
  return alphabet;
}

constexpr Alphabet kAlphabet = make_alphabet();

}  // namespace

void append_byte_level(std::string_view bytes, std::string& out) {
  for (const char b : bytes) utf8::append(out, kAlphabet.character[static_cast<unsigned char>(b)]);
}

std::optional<std::string> from_byte_level(std::string_view token) {
  std::string bytes;
  for (std::size_t at = 0; at < token.size();) {
    const utf8::CodePoint c = utf8::decode(token.data() + at);
    if (c.value >= kCharacters || kAlphabet.byte[c.value] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(kAlphabet.byte[c.value]));
    at += c.length;
  }
  return bytes;
}

}  // namespace krasis::text
