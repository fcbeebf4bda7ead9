#include "text/tokenizer.h"

#include <cstdint>
#include <gtest/gtest.h>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "text/detokenizer.h"
#include "unit/text/small_tokenizer.h"

namespace krasis::text {
namespace {

using Ids = std::vector<std::int32_t>;
using test::byte_fallback_tokenizer;
using test::make_tokenizer;
using test::small_tokenizer;

std::string load_error_of(const std::string& json) {
  try {
    Tokenizer::from_json(json);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Tokenizer, MergesByRankAndLeavesWhatHasNoMerge) {
  const Tokenizer tokenizer = make_tokenizer(small_tokenizer());
  EXPECT_EQ(tokenizer.encode("hello he"), (Ids{29, 14, 26, 27}));
  EXPECT_EQ(tokenizer.decode(Ids{29, 14, 26, 27}), "hello he");
}

TEST(Tokenizer, TakesAWordOfTheVocabularyWholeWhereMergesAreIgnored) {
  auto json = small_tokenizer();
  json["model"]["ignore_merges"] = true;
  EXPECT_EQ(make_tokenizer(json).encode("hello"), Ids{30});
}

TEST(Tokenizer, TakesTheLastOfTwoEqualMerges) {
  auto json = small_tokenizer();
  json["model"]["merges"] = {"h e", "l l", "he ll", "h e"};  // "h e" now ranks last
  json["model"]["vocab"]["el"] = 36;
  json["model"]["merges"].push_back("e l");
  EXPECT_EQ(make_tokenizer(json).encode("hel"), (Ids{27, 11}));
}

TEST(Tokenizer, ReadsMergesAsPairs) {
  auto json = small_tokenizer();
  json["model"]["merges"] = nlohmann::json::parse(R"([["h","e"],["l","l"],["he","ll"]])");
  EXPECT_EQ(make_tokenizer(json).encode("hell"), Ids{29});
}

TEST(Tokenizer, LeavesSpecialTokensAsTextOnRequest) {
  const Tokenizer tokenizer = make_tokenizer(small_tokenizer());
  EXPECT_EQ(tokenizer.encode("a<s>b<think>"), (Ids{0, 33, 1, 35}));
  EXPECT_EQ(tokenizer.encode("a<s>b<think>", {.parse_special_tokens = false}), (Ids{0, 18, 1, 35}));
}

TEST(Tokenizer, SkipsSpecialTokensWhenDecodingOnRequest) {
  const Tokenizer tokenizer = make_tokenizer(small_tokenizer());
  const Ids ids = {33, 0, 35, 34};
  EXPECT_EQ(tokenizer.decode(ids), "<s>a<think></s>");
  EXPECT_EQ(tokenizer.decode(ids, true), "a<think>");
  EXPECT_TRUE(tokenizer.is_special(33));
  EXPECT_FALSE(tokenizer.is_special(35));
}

TEST(Tokenizer, DecodesIdsOutsideTheVocabularyToNothing) {
  const Tokenizer tokenizer = make_tokenizer(small_tokenizer());
  EXPECT_EQ(tokenizer.decode(Ids{-1, 0, 36, 2'000'000'000, 1}), "ab");
  EXPECT_EQ(tokenizer.token(-1), std::nullopt);
  EXPECT_EQ(tokenizer.token_bytes(36), "");
}

TEST(Tokenizer, ReadsInvalidUtf8AsReplacementCharacters) {
  const Tokenizer tokenizer = make_tokenizer(byte_fallback_tokenizer());
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("a\xC3(\xE4\xB8 \xFF")), "a\uFFFD(\uFFFD \uFFFD");
}

TEST(Tokenizer, AppliesTheTemplateAndTheConfiguredBosToken) {
  auto json = small_tokenizer();
  TokenizerConfig config;
  config.bos_token = "<s>";
  config.add_bos_token = true;
  const Tokenizer plain = Tokenizer::from_json(json.dump(), config);
  EXPECT_EQ(plain.encode("a", {.add_special_tokens = true}), (Ids{33, 0}));
  EXPECT_EQ(plain.encode("a"), Ids{0});
  json["post_processor"] = {
      {"type", "TemplateProcessing"},
      {"single",
       {{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}},
        {{"Sequence", {{"id", "A"}, {"type_id", 0}}}},
        {{"SpecialToken", {{"id", "</s>"}, {"type_id", 0}}}}}},
      {"special_tokens",
       {{"<s>", {{"id", "<s>"}, {"ids", {33}}}}, {"</s>", {{"id", "</s>"}, {"ids", {34}}}}}}};
  const Tokenizer with_template = Tokenizer::from_json(json.dump(), config);
  EXPECT_EQ(with_template.encode("a", {.add_special_tokens = true}), (Ids{33, 0, 34}));
}

TEST(Tokenizer, StripsSpaceAroundAddedTokensThatAskForIt) {
  auto json = small_tokenizer();
  json["added_tokens"][0]["lstrip"] = true;
  json["added_tokens"][1]["rstrip"] = true;
  json["added_tokens"][2]["single_word"] = true;
  const Tokenizer tokenizer = make_tokenizer(json);
  EXPECT_EQ(tokenizer.encode("a \t<s> b"), (Ids{0, 33, 26, 1}));
  EXPECT_EQ(tokenizer.encode("a </s> \nb"), (Ids{0, 26, 34, 1}));
  EXPECT_EQ(tokenizer.encode("x<think> <think>"), (Ids{23, 19, 7, 8, 13, 10, 26, 35}));
}

TEST(Tokenizer, FallsBackToBytesAndBack) {
  const Tokenizer tokenizer = make_tokenizer(byte_fallback_tokenizer());
  EXPECT_EQ(tokenizer.encode("a \u00E9"), (Ids{259, 257, 0xC3 + 1, 0xA9 + 1}));
  EXPECT_EQ(tokenizer.decode(Ids{259, 257, 0xC3 + 1, 0xA9 + 1}), "a \u00E9");
  EXPECT_EQ(tokenizer.decode(Ids{259, 0xC3 + 1, 258}), "a\uFFFDa");
  EXPECT_EQ(tokenizer.token_bytes(0xC3 + 1), "\xC3");
  EXPECT_EQ(tokenizer.token_bytes(259), " a");
}

TEST(Tokenizer, EncodesFromSeveralThreadsAtOnce) {
  const Tokenizer tokenizer = make_tokenizer(small_tokenizer());
  const Ids expected = tokenizer.encode("hello he hello a<s>b zzzz");
  std::vector<std::thread> threads;
  std::vector<int> wrong(4, 0);
  for (std::size_t t = 0; t < wrong.size(); ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 500; ++i)
        wrong[t] += tokenizer.encode("hello he hello a<s>b zzzz") != expected;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4, 0));
}

TEST(Tokenizer, NamesFileAndPlaceOfWhatItRefuses) {
  auto json = small_tokenizer();
  json["pre_tokenizer"]["pretokenizers"][1]["type"] = "UnicodeScripts";
  EXPECT_EQ(load_error_of(json.dump()),
            "tokenizer: tokenizer.json: pre_tokenizer.pretokenizers[1]: pre-tokenizer "
            "\"UnicodeScripts\" is not supported");
  json = small_tokenizer();
  json["model"]["type"] = "Unigram";
  json["model"]["vocab"] = nlohmann::json::parse(R"([["a", 0.5]])");
  EXPECT_EQ(load_error_of(json.dump()),
            "tokenizer: tokenizer.json: model: model \"Unigram\" is not supported");
  json = small_tokenizer();
  json["model"]["merges"].push_back("h x");
  EXPECT_EQ(load_error_of(json.dump()),
            "tokenizer: tokenizer.json: model.merges[3]: \"hx\" is not in the vocabulary");
  json = small_tokenizer();
  json["model"]["merges"].push_back("h");
  EXPECT_EQ(
      load_error_of(json.dump()),
      "tokenizer: tokenizer.json: model.merges[3]: is neither \"left right\" nor [left, right]");
  json = small_tokenizer();
  json["model"]["vocab"]["q"] = -1;
  EXPECT_EQ(load_error_of(json.dump()),
            "tokenizer: tokenizer.json: model.vocab[\"q\"]: is not an integer from 0 to 16777215");
  EXPECT_EQ(
      load_error_of(R"({"model": {"vocab": {"a": 0},)"),
      "tokenizer: tokenizer.json: is cut off in line 1, more JSON must follow; download it again");
}

TEST(Tokenizer, RefusesEveryTruncationOfItsFile) {
  const std::string whole = small_tokenizer().dump();
  for (std::size_t size = 0; size < whole.size(); ++size)
    EXPECT_THROW(Tokenizer::from_json(whole.substr(0, size)), Error) << size;
}

TEST(Tokenizer, LoadsOrRefusesEveryFileWithOneByteChanged) {
  const std::string whole = small_tokenizer().dump();
  for (std::size_t at = 0; at < whole.size(); ++at) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x15);
    try {
      Tokenizer::from_json(damaged).encode("hello <s>");
    } catch (const Error&) {
    }
  }
}

TEST(Tokenizer, RefusesAFolderWithoutTokenizer) {
  EXPECT_THROW(Tokenizer::load("/nonexistent"), Error);
}

TEST(TokenizerConfig, ReadsTokensAsStringsAndObjectsAndNamedTemplates) {
  const TokenizerConfig config = parse_tokenizer_config(
      R"({"bos_token": {"content": "<s>"}, "eos_token": "</s>", "pad_token": null,
          "chat_template": [{"name": "default", "template": "A"}, {"name": "rag", "template": "B"}]})",
      "tokenizer_config.json");
  EXPECT_EQ(config.bos_token, "<s>");
  EXPECT_EQ(config.eos_token, "</s>");
  EXPECT_EQ(config.pad_token, std::nullopt);
  ASSERT_EQ(config.chat_templates.size(), 2u);
  EXPECT_EQ(config.chat_templates[1].name, "rag");
  EXPECT_EQ(config.chat_templates[1].text, "B");
}

TEST(Detokenizer, HoldsBackAnIncompleteCharacterUntilTheEnd) {
  const Tokenizer tokenizer = make_tokenizer(small_tokenizer());
  Detokenizer stream(tokenizer);
  EXPECT_EQ(stream.push(0), "a");
  EXPECT_EQ(stream.push(31), "");
  EXPECT_EQ(stream.push(32), "\u00E9");
  EXPECT_EQ(stream.push(31), "");
  EXPECT_EQ(stream.push(0), "\uFFFDa");
  EXPECT_EQ(stream.push(31), "");
  EXPECT_EQ(stream.finish(), "\uFFFD");
}

TEST(Detokenizer, AgreesWithDecodeForAByteFallbackChain) {
  const Tokenizer tokenizer = make_tokenizer(byte_fallback_tokenizer());
  std::uint32_t random = 7;
  for (int round = 0; round < 2000; ++round) {
    Ids ids;
    for (int i = 0; i < 8; ++i) {
      random = random * 1664525 + 1013904223;
      const Ids choices = {257, 258, 259, 0xC3 + 1, 0xA9 + 1, 0xF0 + 1, 0x80 + 1, 0x41 + 1};
      ids.push_back(choices[random >> 29]);
    }
    Detokenizer stream(tokenizer);
    std::string text;
    for (const std::int32_t id : ids) text += stream.push(id);
    ASSERT_EQ(text + stream.finish(), tokenizer.decode(ids));
  }
}

}  // namespace
}  // namespace krasis::text
