// All reference cases of the published tokenizers, bit for bit.
#include <cstdint>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/reference_data.h"
#include "text/detokenizer.h"
#include "text/tokenizer.h"
#include "text/utf8.h"
#include "unit/text/gzip_lines.h"

namespace krasis::text {
namespace {

struct Case {
  std::string text;
  std::vector<std::int32_t> ids;
  std::string decoded;
};

std::vector<Case> cases_of(const std::string& name) {
  std::vector<Case> cases;
  const auto file = test::reference_dir() / "cases" / ("tokenizer-" + name + ".jsonl.gz");
  for (const std::string& line : test::gzip_lines(file)) {
    const nlohmann::json json = nlohmann::json::parse(line);
    cases.push_back({json.at("text"), json.at("ids"), json.at("decoded")});
  }
  return cases;
}

bool is_valid_utf8(const std::string& text) {
  std::string buffer;
  return utf8::make_valid(text, buffer).data() == text.data();
}

class TokenizerCases : public testing::TestWithParam<const char*> {
 protected:
  Tokenizer load() const {
    return Tokenizer::load(test::reference_dir() / "tokenizers" / GetParam());
  }
};

TEST_P(TokenizerCases, EncodeAndDecodeAsTheReference) {
  KRASIS_NEEDS_REFERENCE();
  const Tokenizer tokenizer = load();
  const std::vector<Case> cases = cases_of(GetParam());
  ASSERT_EQ(cases.size(), 3074u);
  for (const Case& c : cases) {
    ASSERT_EQ(tokenizer.encode(c.text), c.ids) << testing::PrintToString(c.text);
    ASSERT_EQ(tokenizer.decode(c.ids), c.decoded) << testing::PrintToString(c.text);
  }
}

TEST_P(TokenizerCases, StreamToTheSameTextWithoutCutCharacters) {
  KRASIS_NEEDS_REFERENCE();
  const Tokenizer tokenizer = load();
  for (const Case& c : cases_of(GetParam())) {
    Detokenizer stream(tokenizer);
    std::string text;
    for (const std::int32_t id : c.ids) {
      const std::string piece = stream.push(id);
      ASSERT_TRUE(is_valid_utf8(piece)) << testing::PrintToString(c.text);
      text += piece;
    }
    ASSERT_EQ(text + stream.finish(), c.decoded);
  }
}

TEST_P(TokenizerCases, StreamToTheSameTextWhenIdsAreShuffled) {
  KRASIS_NEEDS_REFERENCE();
  const Tokenizer tokenizer = load();
  std::uint32_t random = 1;
  for (Case& c : cases_of(GetParam())) {
    for (std::size_t i = c.ids.size(); i > 1; --i) {
      random = random * 1664525 + 1013904223;
      std::swap(c.ids[i - 1], c.ids[(random >> 8) % i]);
    }
    Detokenizer stream(tokenizer);
    std::string text;
    for (const std::int32_t id : c.ids) text += stream.push(id);
    ASSERT_EQ(text + stream.finish(), tokenizer.decode(c.ids));
  }
}

INSTANTIATE_TEST_SUITE_P(Published, TokenizerCases, testing::Values("qwen3", "deepseek-v3"),
                         [](const auto& value) {
                           const std::string name = value.param;
                           return name.substr(0, name.find('-'));
                         });

TEST(PublishedTokenizer, ReadsTokensAndTemplatesOfTheConfig) {
  KRASIS_NEEDS_REFERENCE();
  const Tokenizer plain = Tokenizer::load(test::reference_dir() / "tokenizers" / "qwen3");
  EXPECT_FALSE(plain.bos());
  EXPECT_EQ(plain.eos().value().text, "<|im_end|>");
  EXPECT_EQ(plain.eos().value().id, 151645);
  EXPECT_EQ(plain.vocab_size(), 151669);
  ASSERT_NE(plain.chat_template(), nullptr);
  const Tokenizer objects = Tokenizer::load(test::reference_dir() / "tokenizers" / "deepseek-v3");
  EXPECT_EQ(objects.bos().value().id, 0);
  EXPECT_EQ(objects.encode("", {.add_special_tokens = true}), std::vector<std::int32_t>{0});
  EXPECT_EQ(objects.decode(std::vector<std::int32_t>{0, 1}, true), "");
}

std::string repeated(const std::string& character, std::size_t bytes) {
  std::string text;
  while (text.size() < bytes) text += character;
  return text;
}

TEST(PublishedTokenizer, EncodesTenMegabytesOfOneCharacter) {
  KRASIS_NEEDS_REFERENCE();
  const Tokenizer tokenizer = Tokenizer::load(test::reference_dir() / "tokenizers" / "qwen3");
  for (const char* character : {"a", " "}) {
    const std::string text = repeated(character, 10'000'000);
    ASSERT_EQ(tokenizer.decode(tokenizer.encode(text)), text) << character;
  }
}

TEST(PublishedTokenizer, EncodesLongRunsOfEveryKindOfCharacter) {
  KRASIS_NEEDS_REFERENCE();
  for (const char* name : {"qwen3", "deepseek-v3"}) {
    const Tokenizer tokenizer = Tokenizer::load(test::reference_dir() / "tokenizers" / name);
    for (const char* character : {"\n", "0", "!", "\u00E9", "\u0301", "\u4E2D", "\t \n", "'s"}) {
      const std::string text = repeated(character, 500'000);
      ASSERT_EQ(tokenizer.decode(tokenizer.encode(text)), text) << character;
    }
  }
}

}  // namespace
}  // namespace krasis::text
