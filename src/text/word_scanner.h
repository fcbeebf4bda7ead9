// The split pattern that most byte-level tokenizers use, by hand, because nearly all the time of
// cutting a text went into it:
//   (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,D}| ?[^\s\p{L}\p{N}]+[\r\n]*|
//   \s*[\r\n]+|\s+(?!\S)|\s+
// with D = 1 (written \p{N}) or 3. Its matches cover any text without gaps. The tests compare it
// with PCRE2's answer to the same pattern.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace krasis::text {

class WordScanner {
 public:
  // The scanner for `pattern` if it is one of the known spellings, compared character by character.
  static std::optional<WordScanner> for_pattern(std::string_view pattern);

  // The end of the word that starts at `begin`, which is less than text.size() and the end of the
  // word before it. `text` is valid UTF-8.
  std::size_t word_end(std::string_view text, std::size_t begin) const;

 private:
  explicit WordScanner(int max_digits);

  int max_digits_;
  const std::uint8_t* classes_;  // unicode::class_table()
};

}  // namespace krasis::text
