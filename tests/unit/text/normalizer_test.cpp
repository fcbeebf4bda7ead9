#include "text/normalizer.h"

#include <gtest/gtest.h>
#include <string>

#include "text/byte_level.h"
#include "text/utf8.h"

namespace krasis::text {
namespace {

std::string normalized(std::vector<NormalizerSpec> specs, const std::string& text) {
  NormalizerScratch scratch;
  RegexScratch regex;
  return std::string(Normalizer(specs).apply(text, scratch, regex));
}

TEST(Normalizer, ComposesAndDecomposes) {
  EXPECT_EQ(normalized({UnicodeForm::Nfc}, "xe\u0301y"), "x\u00E9y");
  EXPECT_EQ(normalized({UnicodeForm::Nfc}, "q\u0307\u0323"), "q\u0323\u0307");
  EXPECT_EQ(normalized({UnicodeForm::Nfd}, "\u00E9\uAC01"), "e\u0301\u1100\u1161\u11A8");
  EXPECT_EQ(normalized({UnicodeForm::Nfc}, "\u1100\u1161\u11A8"), "\uAC01");
  EXPECT_EQ(normalized({UnicodeForm::Nfkc}, "\uFB01x\u00B2"), "fix2");
  EXPECT_EQ(normalized({UnicodeForm::Nfkd}, "\u1E9B\u0323"), "s\u0323\u0307");
}

TEST(Normalizer, LeavesMarksAloneThatTheReferenceDoesNotKnow) {
  // U+1ABF has class 220 since Unicode 13; the reference lets it stand between a and the accent.
  EXPECT_EQ(normalized({UnicodeForm::Nfc}, "a\u1ABF\u0301"), "a\u1ABF\u0301");
  EXPECT_EQ(normalized({UnicodeForm::Nfc}, "a\u0323\u0301"), "\u1EA1\u0301");
  EXPECT_EQ(normalized({UnicodeForm::Nfkc}, "\u32FF"), "\u32FF");
}

TEST(Normalizer, RunsItsStepsInOrder) {
  const ReplaceSpec to_mark{.pattern = {.is_regex = false, .text = " "}, .content = "_"};
  EXPECT_EQ(normalized({StripSpec{}, LowercaseSpec{}, PrependSpec{.text = "<"}, to_mark},
                       "\u3000A \u0130\n"),
            "<a_i\u0307");
  EXPECT_EQ(normalized({PrependSpec{.text = "<"}}, ""), "");
}

TEST(Normalizer, SortsALongRunOfMarksInReasonableTime) {
  std::string text = "a";
  for (int i = 0; i < 500'000; ++i) text += i % 2 == 0 ? "\u0301" : "\u0323";
  const std::string result = normalized({UnicodeForm::Nfd}, text);
  EXPECT_EQ(result.substr(0, 5), "a\u0323\u0323");
  EXPECT_EQ(result.size(), text.size());
}

TEST(ByteLevel, WritesEveryByteAndReadsItBack) {
  std::string bytes;
  for (int b = 0; b < 256; ++b) bytes.push_back(static_cast<char>(b));
  std::string written;
  append_byte_level(bytes, written);
  EXPECT_EQ(from_byte_level(written), bytes);
  EXPECT_EQ(written.substr(32 * 2, 3), "\u0120!");
  EXPECT_EQ(from_byte_level("a b"), std::nullopt);
}

TEST(Utf8, ReplacesMaximalSubparts) {
  std::string buffer;
  EXPECT_EQ(utf8::make_valid("a\xF0\x9F\x98z", buffer), "a\uFFFDz");
  EXPECT_EQ(utf8::make_valid("\xED\xA0\x80", buffer), "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(utf8::make_valid("\xC0\xAF\xF5", buffer), "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(utf8::make_valid("\xE1\x80", buffer), "\uFFFD");
}

TEST(Utf8, RepairsTheSameHoweverTheBytesAreCut) {
  const std::string bytes =
      "a\xF0\x9F\x98z\xF0\x9F\x98\x80\xE4\xB8\xAD\xC3\xC3\xA9\xED\xA0\x80\xE4\xB8";
  std::string buffer;
  const std::string whole(utf8::make_valid(bytes, buffer));
  for (std::size_t first = 0; first <= bytes.size(); ++first) {
    for (std::size_t second = first; second <= bytes.size(); ++second) {
      utf8::Repair repair;
      std::string text;
      repair.push(bytes.substr(0, first), text);
      repair.push(bytes.substr(first, second - first), text);
      repair.push(bytes.substr(second), text);
      repair.finish(text);
      ASSERT_EQ(text, whole) << first << " " << second;
    }
  }
}

}  // namespace
}  // namespace krasis::text
