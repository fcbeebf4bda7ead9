#include "text/render_lines.h"

#include <cstdio>
#include <string>

#include "base/error.h"

namespace krasis {
namespace {

using Json = nlohmann::ordered_json;

[[noreturn]] void fail(const std::string& what) {
  throw Error(ErrorCode::InvalidArgument, "render: " + what);
}

// Finds integers that the parser would silently turn into floating-point numbers.
struct IntegerCheck {
  static bool null() { return true; }
  static bool boolean(bool) { return true; }
  static bool number_integer(Json::number_integer_t) { return true; }
  static bool number_unsigned(Json::number_unsigned_t) { return true; }
  static bool number_float(Json::number_float_t, const std::string& text) {
    if (text.find_first_of(".eE") == std::string::npos)
      fail("the integer " + text + " does not fit into 64 bits");
    return true;
  }
  static bool string(std::string&) { return true; }
  static bool binary(Json::binary_t&) { return true; }
  static bool start_object(std::size_t) { return true; }
  static bool end_object() { return true; }
  static bool start_array(std::size_t) { return true; }
  static bool end_array() { return true; }
  static bool key(std::string&) { return true; }
  static bool parse_error(std::size_t, const std::string&, const Json::exception&) { return false; }
};

Json parse_line(std::string_view line) {
  IntegerCheck check;
  Json result = Json::sax_parse(line, &check) ? Json::parse(line, nullptr, false)
                                              : Json(Json::value_t::discarded);
  if (!result.is_object()) fail("the line is not a JSON object");
  return result;
}

jinja::LocalTime parse_time(const Json& now) {
  if (!now.is_string()) fail("now has to be a string like 2026-01-31T12:00:00");
  const std::string& text = now.get_ref<const std::string&>();
  jinja::LocalTime time;
  int used = 0;
  const int fields =
      std::sscanf(text.c_str(), "%4d-%2d-%2d%*[T ]%2d:%2d:%2d%n", &time.year, &time.month,
                  &time.day, &time.hour, &time.minute, &time.second, &used);
  const bool in_range = time.month >= 1 && time.month <= 12 && time.day >= 1 && time.day <= 31 &&
                        time.hour >= 0 && time.hour <= 23 && time.minute >= 0 &&
                        time.minute <= 59 && time.second >= 0 && time.second <= 59 &&
                        time.year >= 1;
  if (fields != 6 || !in_range) fail("now is \"" + text + "\", expected 2026-01-31T12:00:00");
  int scale = 100'000;
  for (std::size_t i = static_cast<std::size_t>(used) + 1;
       i < text.size() && text[static_cast<std::size_t>(used)] == '.'; ++i, scale /= 10) {
    if (text[i] < '0' || text[i] > '9') break;
    time.microsecond += (text[i] - '0') * scale;
  }
  return time;
}

ChatTemplate::Input parse_input(std::string_view line, const Json& defaults) {
  Json request = parse_line(line);
  ChatTemplate::Input input;
  if (!request.contains("messages")) fail("the line has no messages");
  input.messages = std::move(request["messages"]);
  if (request.contains("tools")) input.tools = std::move(request["tools"]);
  if (defaults.is_object()) input.variables = defaults;
  if (request.contains("kwargs") && !request["kwargs"].is_null()) {
    if (!request["kwargs"].is_object()) fail("kwargs has to be an object");
    input.variables.update(request["kwargs"]);
  }
  const bool has_time = request.contains("now") && !request["now"].is_null();
  input.now = has_time ? parse_time(request["now"]) : local_time_now();
  return input;
}

}  // namespace

std::string render_line(const ChatTemplate& chat_template, const Json& defaults,
                        std::string_view line) {
  Json answer = Json::object();
  try {
    answer["rendered"] = chat_template.render(parse_input(line, defaults));
  } catch (const Error& error) {
    answer["error"] = error.what();
  }
  return answer.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace krasis
