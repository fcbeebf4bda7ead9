#include "text/word_scanner.h"

#include <cstdint>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "text/regex.h"
#include "text/utf8.h"

namespace krasis::text {
namespace {

std::string pattern_with(const std::string& numbers) {
  return R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|)" + numbers +
         R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
}

class Random {
 public:
  std::uint32_t below(std::uint32_t n) {
    state_ = state_ * 6364136223846793005ULL + 1442695040888963407ULL;
    return static_cast<std::uint32_t>((state_ >> 33) % n);
  }

 private:
  std::uint64_t state_ = 42;
};

// Few different characters of every kind, so that all alternatives compete, and some of any kind.
std::string random_text(Random& random) {
  static const char* const kPieces[] = {
      "a",      "Z",   "\u00E9", "\u4E2D", "0",      "7",       "\u0661", "\u00B2", " ",
      " ",      "  ",  "\n",     "\r",     "\t",     "\u00A0",  "\u2028", "\u3000", "\u180E",
      "\u0085", "'",   "!",      "-",      "\u20AC", "\u0301",  "'s",     "'S",     "'T",
      "'re",    "'vE", "'ll",    "'d",     "'m",     "'\u017F", "l",      "\u200D", "\U0001F600"};
  std::string text;
  const std::uint32_t length = 1 + random.below(12);
  for (std::uint32_t i = 0; i < length; ++i) {
    char32_t c = random.below(0x110000);
    if (c >= 0xD800 && c < 0xE000) c = 'x';
    if (random.below(8) == 0)
      utf8::append(text, c);
    else
      text += kPieces[random.below(std::size(kPieces))];
  }
  return text;
}

std::vector<std::size_t> ends_by_scanner(const WordScanner& scanner, const std::string& text) {
  std::vector<std::size_t> ends;
  for (std::size_t at = 0; at < text.size(); at = ends.back())
    ends.push_back(scanner.word_end(text, at));
  return ends;
}

std::vector<std::size_t> ends_by_regex(const Regex& regex, const std::string& text,
                                       RegexScratch& scratch) {
  std::vector<std::size_t> ends;
  RegexMatches matches(regex, text, scratch);
  std::size_t done = 0;
  while (const std::optional<Span> match = matches.next()) {
    EXPECT_EQ(match->begin, done);  // no gaps
    done = match->end;
    ends.push_back(done);
  }
  return ends;
}

TEST(WordScanner, CutsRandomTextsAsTheRegularExpression) {
  RegexScratch scratch;
  Random random;
  for (const char* numbers : {R"(\p{N})", R"(\p{N}{1,3})"}) {
    const std::string pattern = pattern_with(numbers);
    const Regex regex(PatternSpec{.is_regex = true, .text = pattern});
    const WordScanner scanner = WordScanner::for_pattern(pattern).value();
    for (int i = 0; i < 200'000; ++i) {
      const std::string text = random_text(random);
      ASSERT_EQ(ends_by_scanner(scanner, text), ends_by_regex(regex, text, scratch))
          << testing::PrintToString(text);
    }
  }
}

TEST(WordScanner, AgreesOnEveryCodePoint) {
  RegexScratch scratch;
  const std::string pattern = pattern_with(R"(\p{N})");
  const Regex regex(PatternSpec{.is_regex = true, .text = pattern});
  const WordScanner scanner = WordScanner::for_pattern(pattern).value();
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text = "a";
    utf8::append(text, c);
    text += "a1 ";
    utf8::append(text, c);
    ASSERT_EQ(ends_by_scanner(scanner, text), ends_by_regex(regex, text, scratch))
        << static_cast<std::uint32_t>(c);
  }
}

TEST(WordScanner, KnowsNoOtherPattern) {
  EXPECT_FALSE(WordScanner::for_pattern(pattern_with(R"(\p{N}{1,2})")));
  EXPECT_FALSE(WordScanner::for_pattern(""));
}

}  // namespace
}  // namespace krasis::text
