// Regular expressions of tokenizer files, run by PCRE2 with its JIT compiler. Time and memory of a
// search are bounded: a search that would need more throws Error(Unsupported).
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "formats/tokenizer_json.h"

namespace krasis::text {

struct Span {
  std::size_t begin = 0;
  std::size_t end = 0;
};

// What a search writes to; one for each thread that searches.
class RegexScratch {
 public:
  RegexScratch();
  RegexScratch(const RegexScratch&) = delete;
  RegexScratch& operator=(const RegexScratch&) = delete;
  ~RegexScratch();

 private:
  friend class Regex;
  struct State;
  std::unique_ptr<State> state_;
};

class Regex {
 public:
  // Refuses what cannot be translated (regex_translate.h) or compiled: Error(Unsupported).
  explicit Regex(const PatternSpec& pattern);
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;
  ~Regex();

  // The leftmost match at or after `from`. `text` is valid UTF-8, `from` the start of a character.
  std::optional<Span> search(std::string_view text, std::size_t from, RegexScratch& scratch) const;

 private:
  struct Code;
  std::string source_;
  std::unique_ptr<Code> code_;
};

// All matches from left to right, as Oniguruma's find_iter: an empty match directly after the match
// before it is passed over.
class RegexMatches {
 public:
  RegexMatches(const Regex& regex, std::string_view text, RegexScratch& scratch)
      : regex_(regex), text_(text), scratch_(scratch) {}

  std::optional<Span> next();

 private:
  const Regex& regex_;
  std::string_view text_;
  RegexScratch& scratch_;
  std::size_t from_ = 0;
  std::optional<std::size_t> last_end_;
};

}  // namespace krasis::text
