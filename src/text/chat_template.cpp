#include "text/chat_template.h"

#include <chrono>
#include <ctime>
#include <string_view>
#include <utility>

#include "text/jinja/from_json.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/methods.h"
#include "text/jinja/parser.h"

namespace krasis {

ChatTemplate::ChatTemplate(const std::string& source, std::string name)
    : name_(std::move(name)), tree_(jinja::parse(source, name_)) {}

ChatTemplate::ChatTemplate(ChatTemplate&& other) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&& other) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

std::string ChatTemplate::render(const Input& input, const jinja::Limits& limits) const {
  using jinja::Value;
  jinja::Runtime runtime(name_, limits, input.now);
  if (!input.variables.is_object()) runtime.fail("the template's variables have to be an object");
  jinja::Dict context;
  const auto set = [&](std::string_view name, const Value& value) {
    context.set(runtime.string(name), value);
  };
  for (const jinja::NativeRow& row : jinja::global_functions())
    set(row.name, jinja::make_function(runtime, row, Value()));
  set("documents", Value::none());
  set("add_generation_prompt", Value::boolean(false));
  const Value variables = jinja::from_json(runtime, input.variables);
  for (const jinja::Dict::Entry& entry : variables.dict().entries()) {
    if (entry.key.bytes() == "messages" || entry.key.bytes() == "tools")
      runtime.fail("'" + entry.key.text().bytes + "' is given twice, also among the variables");
    context.set(entry.key, entry.value);
  }
  set("messages", jinja::from_json(runtime, input.messages));
  set("tools", jinja::from_json(runtime, input.tools));
  return jinja::Interpreter(runtime, *tree_, context).render();
}

jinja::LocalTime local_time_now() {
  const auto now = std::chrono::system_clock::now();
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  const auto since_epoch =
      std::chrono::duration_cast<std::chrono::microseconds>(now.time_since_epoch());
  std::tm tm{};
  localtime_r(&seconds, &tm);
  return {tm.tm_year + 1900,
          tm.tm_mon + 1,
          tm.tm_mday,
          tm.tm_hour,
          tm.tm_min,
          tm.tm_sec,
          static_cast<int>(since_epoch.count() % 1'000'000)};
}

}  // namespace krasis
