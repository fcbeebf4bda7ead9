#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "text/reasoning.h"
#include "text/stop_matcher.h"
#include "text/tokenize_lines.h"
#include "unit/text/small_tokenizer.h"

namespace krasis::text {
namespace {

struct Stopped {
  std::string text;
  std::string stop;
};

Stopped stop_in_pieces(const std::vector<std::string>& stops, const std::string& text,
                       std::size_t size) {
  StopMatcher matcher(stops);
  Stopped result;
  for (std::size_t at = 0; at < text.size(); at += size)
    result.text += matcher.push(text.substr(at, size));
  result.text += matcher.finish();
  result.stop = matcher.stop();
  return result;
}

TEST(StopMatcher, FindsTheSameHoweverTheTextIsCut) {
  const std::vector<std::string> stops = {"abab", "bac", "\n\n", "", "\u4E2D\u6587"};
  const char* texts[] = {"xababa", "aababac", "x\n\ny", "\u4E2D\u4E2D\u6587!", "abacus", "no stop"};
  const char* expected[] = {"x", "a", "x", "\u4E2D", "a", "no stop"};
  for (std::size_t i = 0; i < std::size(texts); ++i) {
    for (std::size_t size = 1; size < 8; ++size)
      EXPECT_EQ(stop_in_pieces(stops, texts[i], size).text, expected[i]) << texts[i] << size;
  }
}

TEST(StopMatcher, TakesTheLongestOfTwoThatEndTogether) {
  const Stopped found = stop_in_pieces({"b", "ab"}, "xaby", 4);
  EXPECT_EQ(found.text, "x");
  EXPECT_EQ(found.stop, "ab");
}

TEST(StopMatcher, HoldsBackOnlyAPossibleStart) {
  StopMatcher matcher({"<end>"});
  EXPECT_EQ(matcher.push("a <en"), "a ");
  EXPECT_EQ(matcher.push("<e"), "<en");
  EXPECT_EQ(matcher.push("x"), "<ex");
  EXPECT_EQ(matcher.push("<"), "");
  EXPECT_EQ(matcher.finish(), "<");
  EXPECT_FALSE(matcher.stopped());
}

TEST(StopMatcher, ReturnsNothingAfterAStop) {
  StopMatcher matcher({"."});
  EXPECT_EQ(matcher.push("one. two."), "one");
  EXPECT_TRUE(matcher.stopped());
  EXPECT_EQ(matcher.push("three"), "");
  EXPECT_EQ(matcher.finish(), "");
}

ReasoningPiece split_in_pieces(const ReasoningOptions& options, const std::string& text,
                               std::size_t size) {
  ReasoningSplitter splitter(options);
  ReasoningPiece all;
  const auto add = [&all](const ReasoningPiece& piece) {
    all.reasoning += piece.reasoning;
    all.answer += piece.answer;
  };
  for (std::size_t at = 0; at < text.size(); at += size) add(splitter.push(text.substr(at, size)));
  add(splitter.finish());
  return all;
}

struct ReasoningCase {
  bool starts_inside;
  bool trim;
  const char* text;
  const char* reasoning;
  const char* answer;
};

TEST(ReasoningSplitter, SplitsTheSameHoweverTheTextIsCut) {
  const ReasoningCase cases[] = {
      {false, true, "<think>\nwhy so \n</think>\n\nyes ", "why so", "yes "},
      {false, false, "<think>\nwhy\n</think>\n\nyes", "\nwhy\n", "\n\nyes"},
      {false, true, " \n<think>a</think>b", "a", "b"},
      {false, true, " plain <think>x</think>", "", " plain <think>x</think>"},
      {false, true, " <thin", "", " <thin"},
      {false, true, "<think> a < /think> b ", "a < /think> b", ""},
      {false, true, "<think>a</think>b</think>", "a", "b</think>"},
      {true, true, "a\n</think>\nb", "a", "b"},
      {true, true, "<think>\na</think>b", "a", "b"},
      {true, false, " a</thi", " a</thi", ""},
      {true, true, "", "", ""},
      {false, true, "<think></think> x", "", "x"},
  };
  for (const ReasoningCase& c : cases) {
    for (std::size_t size = 1; size < 12; ++size) {
      const ReasoningOptions options{.starts_inside = c.starts_inside, .trim = c.trim};
      const ReasoningPiece piece = split_in_pieces(options, c.text, size);
      EXPECT_EQ(piece.reasoning, c.reasoning) << c.text << " " << size;
      EXPECT_EQ(piece.answer, c.answer) << c.text << " " << size;
    }
  }
}

TEST(ReasoningSplitter, StreamsWithoutWaiting) {
  ReasoningSplitter splitter;
  EXPECT_EQ(splitter.push("<think>be").reasoning, "be");
  EXPECT_EQ(splitter.push("cause </th").reasoning, "cause");
  EXPECT_EQ(splitter.push("at").reasoning, " </that");
  EXPECT_TRUE(splitter.inside_reasoning());
  EXPECT_EQ(splitter.push("</think>ok").answer, "ok");
}

TEST(TokenizeLine, AnswersEveryLineOnOneLine) {
  const Tokenizer tokenizer = test::make_tokenizer(test::small_tokenizer());
  EXPECT_EQ(tokenize_line(tokenizer, R"({"text": "hell<s>"})"),
            R"({"decoded":"hell<s>","ids":[29,33]})");
  EXPECT_EQ(tokenize_line(tokenizer, R"({"txt": 1})"),
            R"({"error":"tokenize: the object has no string \"text\""})");
  EXPECT_EQ(tokenize_line(tokenizer, "[]"),
            R"({"error":"tokenize: the line is not a JSON object"})");
  for (const char* line :
       {"", "{", "nul", "{\"text\": \"\\ud800\"}", "\xFF", "{\"text\": \"\xFF\"}"}) {
    const auto answer = nlohmann::json::parse(tokenize_line(tokenizer, line));
    EXPECT_TRUE(answer.contains("error")) << line;
  }
}

}  // namespace
}  // namespace krasis::text
