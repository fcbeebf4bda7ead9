// Snippets whose expected output was computed by Jinja2 3.1.6 in a sandbox with trim_blocks,
// lstrip_blocks and loop controls; jinja_cases.jsonl has the variables in its first line.
#include <fstream>
#include <gtest/gtest.h>
#include <string>

#include "base/error.h"
#include "text/render_lines.h"

namespace krasis {
namespace {

using Json = nlohmann::ordered_json;

std::string outcome(const Json& row, const Json& first) {
  const Json request = {
      {"messages", Json::array()}, {"kwargs", first["variables"]}, {"now", first["now"]}};
  try {
    const ChatTemplate chat_template(row["source"], "snippet");
    const Json answer = Json::parse(render_line(chat_template, Json::object(), request.dump()));
    return answer.contains("error") ? "ERROR" : "TEXT " + answer["rendered"].get<std::string>();
  } catch (const Error&) {
    return "ERROR";
  }
}

TEST(Jinja, ComputesWhatTheReferenceComputes) {
  std::ifstream file(KRASIS_SOURCE_DIR "/tests/unit/text/jinja_cases.jsonl");
  std::string line;
  ASSERT_TRUE(std::getline(file, line));
  const Json first = Json::parse(line);
  int count = 0;
  for (; std::getline(file, line); ++count) {
    const Json row = Json::parse(line);
    const std::string expected =
        row.contains("error") ? "ERROR" : "TEXT " + row["rendered"].get<std::string>();
    EXPECT_EQ(outcome(row, first), expected) << row["source"];
  }
  EXPECT_GT(count, 500);
}

}  // namespace
}  // namespace krasis
