#include "chat/printer.h"

#include <gtest/gtest.h>

namespace krasis {
namespace {

TEST(WithoutControls, LeavesOutWhatATerminalWouldObey) {
  EXPECT_EQ(without_controls("a\x1b[2Jb\x07\x7f"
                             "c\r\n\td"),
            "a[2Jbc\n\td");
  EXPECT_EQ(without_controls("x\xc2\x9b"
                             "31my"),
            "x31my");  // U+009B opens a sequence as well
}

TEST(WithoutControls, KeepsText) {
  EXPECT_EQ(without_controls("\xc3\xa4\xe2\x82\xac\xf0\x9f\x99\x82\xc2\xa0"),
            "\xc3\xa4\xe2\x82\xac\xf0\x9f\x99\x82\xc2\xa0");
}

TEST(UsageLine, SaysCountsTimesAndRate) {
  EXPECT_EQ(usage_line({.prompt_tokens = 12,
                        .completion_tokens = 85,
                        .first_token_seconds = 0.2,
                        .total_seconds = 2.2,
                        .finish_reason = "stop"}),
            "[12 + 85 tokens, first after 0.20 s, 42.0 tok/s]");
  EXPECT_EQ(usage_line({.prompt_tokens = 1,
                        .completion_tokens = 1,
                        .first_token_seconds = 0.5,
                        .total_seconds = 0.5,
                        .finish_reason = "length"}),
            "[1 + 1 tokens, first after 0.50 s, cut at the limit]");
  EXPECT_EQ(usage_line({.cancelled = true, .finish_reason = ""}), "[stopped]");
}

}  // namespace
}  // namespace krasis
