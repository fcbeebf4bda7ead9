#include "chat/sse_reader.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace krasis {
namespace {

using Events = std::vector<std::string>;

TEST(SseReader, GivesTheDataOfEachEvent) {
  SseReader reader;
  EXPECT_EQ(reader.push("data: a\n\ndata:b\n\n"), (Events{"a", "b"}));
}

TEST(SseReader, LeavesCommentsAndOtherFieldsOut) {
  SseReader reader;
  EXPECT_EQ(reader.push(": keep-alive\n\nevent: x\nid: 1\ndata: a\n\n"), Events{"a"});
}

TEST(SseReader, JoinsLinesOfOneEvent) {
  SseReader reader;
  EXPECT_EQ(reader.push("data: a\ndata: b\ndata\n\n"), Events{"a\nb"});
}

TEST(SseReader, TakesEveryLineEnd) {
  SseReader reader;
  EXPECT_EQ(reader.push("data: a\r\n\r\ndata: b\r\rdata: c\n\n"), (Events{"a", "b", "c"}));
}

TEST(SseReader, DoesNotMindWhereTheBytesAreCut) {
  const std::string stream = "data: one\r\n\r\n: x\n\ndata: two\ndata: more\n\n";
  SseReader reader;
  Events events;
  for (const char byte : stream)
    for (std::string& event : reader.push({&byte, 1})) events.push_back(std::move(event));
  EXPECT_EQ(events, (Events{"one", "two\nmore"}));
}

TEST(SseReader, HoldsBackAnUnfinishedEvent) {
  SseReader reader;
  EXPECT_EQ(reader.push("data: a\n"), Events{});
  EXPECT_EQ(reader.push("\n"), Events{"a"});
}

TEST(SseReader, RefusesAnEndlessLine) {
  SseReader reader;
  const std::string megabyte(std::size_t{1} << 20, 'x');
  EXPECT_THROW(
      {
        for (int i = 0; i < 20; ++i) reader.push(megabyte);
      },
      Error);
}

}  // namespace
}  // namespace krasis
