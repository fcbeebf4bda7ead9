#include <gtest/gtest.h>

#include "model/trace.h"

namespace krasis {
namespace {

std::string refusal(std::string_view text) {
  try {
    parse_token_ids(text);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::InvalidArgument);
    return error.what();
  }
  return "";
}

TEST(TokenIds, AreNumbersWithWhiteSpaceBetween) {
  EXPECT_EQ(parse_token_ids("1 22\t333\r\n\n 0 \n"), (std::vector<std::int32_t>{1, 22, 333, 0}));
  EXPECT_EQ(parse_token_ids("2147483647"), std::vector<std::int32_t>{2147483647});
}

TEST(TokenIds, AreRefusedWithTheWordThatIsNone) {
  EXPECT_EQ(refusal("1 2 x3 4"), "trace: \"x3\" is not a token id");
  EXPECT_EQ(refusal("1,2"), "trace: \"1,2\" is not a token id");
  EXPECT_EQ(refusal("-1"), "trace: \"-1\" is not a token id");
  EXPECT_EQ(refusal("2147483648"), "trace: \"2147483648\" is not a token id");
  EXPECT_EQ(refusal(" \n"), "trace: there are no token ids");
}

}  // namespace
}  // namespace krasis
