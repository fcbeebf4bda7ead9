#include "text/regex.h"

#include <gtest/gtest.h>
#include <string>

#include "base/error.h"
#include "text/regex_translate.h"

namespace krasis::text {
namespace {

// All matches of `pattern` in `text`, in brackets.
std::string marked(const std::string& pattern, const std::string& text) {
  const Regex regex(PatternSpec{.is_regex = true, .text = pattern});
  RegexScratch scratch;
  RegexMatches matches(regex, text, scratch);
  std::string result;
  std::size_t done = 0;
  while (const std::optional<Span> match = matches.next()) {
    result += text.substr(done, match->begin - done) + "[" +
              text.substr(match->begin, match->end - match->begin) + "]";
    done = match->end;
  }
  return result + text.substr(done);
}

std::string pattern_error_of(const std::string& pattern) {
  try {
    Regex(PatternSpec{.is_regex = true, .text = pattern});
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Regex, IntersectsAndNestsClasses) {
  EXPECT_EQ(marked("[a-z&&[^aeiou]]+", "banana"), "[b]a[n]a[n]a");
  EXPECT_EQ(marked("[^a-z&&[^aeiou]]", "ba1"), "b[a][1]");
  EXPECT_EQ(marked("[a[0-9]]+", "ba12c"), "b[a12]c");
  EXPECT_EQ(marked("[\\p{L}&&[^\\p{Han}]]+", "ab\u4E2Dc"), "[ab]\u4E2D[c]");
}

TEST(Regex, ReadsComplementsInsideClasses) {
  EXPECT_EQ(marked("[\\P{L}x]+", "ax1b"), "a[x1]b");
  EXPECT_EQ(marked("[^\\P{L}x]+", "ax1b"), "[a]x1[b]");
  EXPECT_EQ(marked("[\\W\\d]", "a-1"), "a[-][1]");
}

TEST(Regex, RepeatsWhatStandsBeforeBracesAndPlus) {
  EXPECT_EQ(marked("a{2}+", "aaaaa"), "[aaaa]a");
  EXPECT_EQ(marked("a{,2}b", "aaab"), "a[aab]");
  EXPECT_EQ(marked("a{2}?b", "aab b"), "[aab] [b]");
  EXPECT_EQ(marked("a{x}", "a{x}"), "[a{x}]");
}

TEST(Regex, ExtendsAnOptionInMidGroupAcrossAlternatives) {
  EXPECT_EQ(marked("a(?i)b|c", "aB aC c"), "[aB] [aC] c");
  EXPECT_EQ(marked("(?m:a.b)", "a\nb"), "[a\nb]");
  EXPECT_EQ(marked("a.b", "a\nb"), "a\nb");
}

TEST(Regex, KnowsTheCharactersOfUnicode16) {
  EXPECT_EQ(marked("\\p{L}", "\U000105C0\U00031350\U0001C000"),
            "[\U000105C0][\U00031350]\U0001C000");
  EXPECT_EQ(marked("\\s", "\u180E\u00A0\u0085"), "\u180E[\u00A0][\u0085]");
  EXPECT_EQ(marked("\\h+", "xbadx"), "x[bad]x");
}

TEST(Regex, PassesOverAnEmptyMatchAfterAMatch) {
  EXPECT_EQ(marked("a*", "baac"), "[]b[aa]c[]");
}

TEST(Regex, QuotesWhatItRefuses) {
  EXPECT_EQ(pattern_error_of("(?<name>a)"),
            "regular expression: \"(?<name>a)\": a named group is not supported");
  EXPECT_EQ(pattern_error_of("\\y"), "regular expression: \"\\y\": \\y is not supported");
  EXPECT_EQ(pattern_error_of("(a"),
            "regular expression: \"(a\": a group that is not closed is not supported");
  EXPECT_NE(pattern_error_of("\\p{Nonsense}"), "no error");
  EXPECT_NE(pattern_error_of("[a"), "no error");
  EXPECT_NE(pattern_error_of(std::string(10'000, '[')), "no error");
}

TEST(Regex, GivesUpInsteadOfHanging) {
  const Regex regex(PatternSpec{.is_regex = true, .text = "(a+)+(?<!a)b"});
  RegexScratch scratch;
  EXPECT_THROW(regex.search(std::string(60, 'a') + "b", 0, scratch), Error);
}

TEST(Regex, SearchesBeyondTheStackOfTheCompiledPattern) {
  const Regex regex(PatternSpec{.is_regex = true, .text = "(?:a|b)+c"});
  RegexScratch scratch;
  const std::string text = std::string(1'000'000, 'a') + "c";
  EXPECT_EQ(regex.search(text, 0, scratch).value().end, text.size());
}

}  // namespace
}  // namespace krasis::text
