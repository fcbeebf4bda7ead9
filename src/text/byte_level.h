// The byte-level alphabet: every byte written as one visible character, so that a vocabulary of
// strings can hold any bytes. Bytes that Latin-1 prints stand for themselves; the other 68, in
// ascending order, are U+0100 and up (a space is U+0120). First used by GPT-2's encoder.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace krasis::text {

// The character of each byte in UTF-8 (two bytes at the most), appended to `out`.
void append_byte_level(std::string_view bytes, std::string& out);

// The bytes that `token` stands for, if all its characters belong to the alphabet.
std::optional<std::string> from_byte_level(std::string_view token);

}  // namespace krasis::text
