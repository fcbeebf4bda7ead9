#include "text/chat_template.h"

#include <gtest/gtest.h>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "support/reference_data.h"
#include "text/render_lines.h"
#include "unit/text/gzip_lines.h"

namespace krasis {
namespace {

using Json = nlohmann::ordered_json;

std::string error_of(const std::string& source, const jinja::Limits& limits = {}) {
  try {
    ChatTemplate(source, "t.jinja").render({Json::array(), nullptr, Json::object(), {}}, limits);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(ChatTemplate, RendersEveryReferenceCaseToTheByte) {
  KRASIS_NEEDS_REFERENCE();
  std::map<std::string, ChatTemplate> templates;
  int rendered = 0;
  for (const std::string& line :
       test::gzip_lines(test::reference_dir() / "cases/renders.jsonl.gz")) {
    const Json expected = Json::parse(line);
    const std::string name = expected["template"];
    auto it = templates.find(name);
    if (it == templates.end())
      it = templates.try_emplace(name, read_file(test::reference_dir() / "templates" / name), name)
               .first;
    const Json answer = Json::parse(render_line(it->second, Json::object(), line));
    ASSERT_EQ(answer.contains("error"), expected.contains("error"))
        << name << " " << expected["conversation"] << ": " << answer.dump();
    if (answer.contains("error")) continue;
    ASSERT_EQ(answer["rendered"], expected["rendered"]) << name << " " << expected["conversation"];
    ++rendered;
  }
  EXPECT_GT(rendered, 1000);
}

TEST(ChatTemplate, ReportsWhereASyntaxErrorIs) {
  EXPECT_EQ(error_of("a\n{% if x %}\nb\n"),
            "chat template: t.jinja:3: the template ends before 'endif'");
  EXPECT_EQ(error_of("\n\n{{ 1 + }}"), "chat template: t.jinja:3: unexpected '}}'");
  EXPECT_EQ(error_of("{{ 'a }}"), "chat template: t.jinja:1: a string is not closed");
  EXPECT_EQ(error_of("{% frob %}"), "chat template: t.jinja:1: there is no statement 'frob'");
  EXPECT_EQ(error_of("\n{{ 1|frob }}"), "chat template: t.jinja:2: there is no filter 'frob'");
}

TEST(ChatTemplate, ReportsWhereARenderFails) {
  EXPECT_EQ(error_of("\n{{ messages[0].content }}"),
            "chat template: t.jinja:2: a value of type list has no attribute or element '0'");
  EXPECT_EQ(error_of("{{ raise_exception('no') }}"), "chat template: t.jinja:1: no");
  EXPECT_EQ(error_of("{{ 9223372036854775807 + 1 }}"),
            "chat template: t.jinja:1: the integer result of + does not fit into 64 bits");
}

TEST(ChatTemplate, StopsAtEveryLimit) {
  jinja::Limits few_steps;
  few_steps.steps = 1000;
  EXPECT_EQ(error_of("{% for i in range(9999) %}{% endfor %}", few_steps),
            "chat template: t.jinja:1: more than 1000 steps: the template loops too long for these "
            "messages");
  jinja::Limits short_text;
  short_text.output_bytes = 10;
  EXPECT_EQ(error_of("{{ 'abc' * 4 }}", short_text),
            "chat template: t.jinja:1: the text is longer than 10 bytes");
  EXPECT_EQ(error_of("{{ 'abc' * 10000000000 }}"),
            "chat template: t.jinja:1: more than 1073741824 bytes of strings and lists were made: "
            "the template repeats or copies too much");
  EXPECT_EQ(error_of("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"),
            "chat template: t.jinja:1: more than 1200 nested evaluations: a macro or a loop calls "
            "itself without end");
  EXPECT_NE(error_of("{% set n = namespace(x=[1]) %}{% for i in range(9999) %}"
                     "{% set n.x = n.x|map('string') %}{% endfor %}{{ n.x|list }}")
                .find("nested evaluations"),
            std::string::npos);
  EXPECT_EQ(error_of("{% set n = namespace(x=(1,)) %}{% for i in range(9999) %}"
                     "{% set n.x = (n.x, n.x) %}{% endfor %}{{ {n.x: 1} }}"),
            "chat template: t.jinja:1: a value of type tuple cannot be a dict key");
  EXPECT_EQ(error_of("{{ range(100001) }}"),
            "chat template: t.jinja:1: range: more than 100000 numbers");
  EXPECT_EQ(error_of("{{ " + std::string(300, '(') + "1" + std::string(300, ')') + " }}"),
            "chat template: t.jinja:1: the template is nested too deeply");
}

TEST(ChatTemplate, RendersInManyThreadsAtOnce) {
  const ChatTemplate chat_template("{% for m in messages %}{{ m.role }};{% endfor %}", "t");
  std::vector<std::string> answers(4);
  std::vector<std::thread> threads;
  for (std::string& answer : answers)
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i)
        answer = chat_template.render(
            {Json::parse(R"([{"role":"a"},{"role":"b"}])"), nullptr, Json::object(), {}});
    });
  for (std::thread& thread : threads) thread.join();
  for (const std::string& answer : answers) EXPECT_EQ(answer, "a;b;");
}

TEST(RenderLines, LetsKwargsOverrideTheDefaults) {
  const ChatTemplate chat_template("{{ bos_token }}{{ eos_token }}{{ add_generation_prompt }}",
                                   "t");
  const Json defaults = {{"bos_token", "B"}, {"eos_token", "E"}};
  EXPECT_EQ(render_line(chat_template, defaults, R"({"messages":[],"kwargs":{"eos_token":"X"}})"),
            R"({"rendered":"BXFalse"})");
}

TEST(RenderLines, AnswersAnErrorForLinesItCannotUse) {
  const ChatTemplate chat_template("{{ messages }}", "t");
  EXPECT_EQ(render_line(chat_template, {}, "nonsense"),
            R"({"error":"render: the line is not a JSON object"})");
  EXPECT_EQ(render_line(chat_template, {}, "{}"),
            R"({"error":"render: the line has no messages"})");
  EXPECT_EQ(render_line(chat_template, {}, R"({"messages":[],"now":"noon"})"),
            R"({"error":"render: now is \"noon\", expected 2026-01-31T12:00:00"})");
  EXPECT_EQ(render_line(chat_template, {}, R"({"messages":[123456789012345678901]})"),
            R"({"error":"render: the integer 123456789012345678901 does not fit into 64 bits"})");
}

}  // namespace
}  // namespace krasis
