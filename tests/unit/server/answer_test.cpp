#include "server/answer.h"

#include <gtest/gtest.h>

#include "chain_model.h"

namespace krasis::server {
namespace {

const text::Tokenizer& tokenizer() {
  static const text::Tokenizer kTokenizer = test::byte_tokenizer();
  return kTokenizer;
}

TokenEvent token(char byte, FinishReason finish = FinishReason::None) {
  TokenEvent event;
  event.token = static_cast<unsigned char>(byte);
  event.chosen = {static_cast<unsigned char>(byte), -0.5F};
  event.finish = finish;
  return event;
}

struct Said {
  std::vector<std::string> pieces;
  std::string text, reasoning, logprob_tokens;
  FinishReason finish = FinishReason::None;
  std::int64_t tokens = 0;
};

// Every byte of `bytes` is a token; the last one comes with `finish`.
Said say(const std::string& bytes, const AnswerOptions& options, FinishReason finish) {
  Answer answer(tokenizer(), options);
  Said said;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const AnswerPiece piece =
        answer.push(token(bytes[i], i + 1 == bytes.size() ? finish : FinishReason::None));
    said.pieces.push_back(piece.text);
    said.text += piece.text;
    said.reasoning += piece.reasoning;
    for (const TokenEvent& event : piece.logprobs)
      said.logprob_tokens += static_cast<char>(*event.token);
    if (piece.finish != FinishReason::None) said.finish = piece.finish;
  }
  said.tokens = answer.tokens();
  return said;
}

TEST(Answer, NeverCutsACharacterAndLosesNothingAtTheLimit) {
  const Said said =
      say("a\xE2\x82\xAC"
          "b",
          {}, FinishReason::Length);
  EXPECT_EQ(said.pieces, (std::vector<std::string>{"a", "", "", "\xE2\x82\xAC", "b"}));
  EXPECT_EQ(said.finish, FinishReason::Length);
  EXPECT_EQ(say("a\xE2\x82", {}, FinishReason::Length).text, "a\xEF\xBF\xBD");
}

TEST(Answer, LeavesTheEndTokenOut) {
  const Said said = say("ab!", {}, FinishReason::End);
  EXPECT_EQ(said.text, "ab");
  EXPECT_EQ(said.tokens, 3);
}

TEST(Answer, StopsAtAStringThatSpansTokens) {
  const Said said = say("one STOP two", {.stops = {"STOP"}}, FinishReason::Length);
  EXPECT_EQ(said.text, "one ");
  EXPECT_EQ(said.finish, FinishReason::End);
  EXPECT_EQ(said.tokens, 8);
}

TEST(Answer, SendsWhatOnlyLookedLikeAStop) {
  EXPECT_EQ(say("a STO", {.stops = {"STOP"}}, FinishReason::Length).text, "a STO");
  EXPECT_EQ(say("a STO!", {.stops = {"STOP"}}, FinishReason::End).text, "a STO");
}

TEST(Answer, SplitsTheReasoningOff) {
  const Said said = say("<think>\nhm\n</think>\n\nyes", {.reasoning = true}, FinishReason::Length);
  EXPECT_EQ(said.reasoning, "hm");
  EXPECT_EQ(said.text, "yes");
  const Said inside =
      say("hm</think>yes", {.reasoning = true, .starts_inside = true}, FinishReason::Length);
  EXPECT_EQ(inside.reasoning, "hm");
  EXPECT_EQ(inside.text, "yes");
}

TEST(Answer, ReportsLogprobsOfTokensThatWereSent) {
  EXPECT_EQ(say("abc", {.logprobs = true}, FinishReason::Length).logprob_tokens, "abc");
  EXPECT_EQ(say("abc", {.logprobs = true}, FinishReason::End).logprob_tokens, "ab");
  EXPECT_EQ(
      say("ab cd ef", {.stops = {" cd"}, .logprobs = true}, FinishReason::Length).logprob_tokens,
      "ab");
  EXPECT_EQ(say("abc", {}, FinishReason::Length).logprob_tokens, "");
}

}  // namespace
}  // namespace krasis::server
