#include "text/tokenize_lines.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "formats/json_problem.h"

namespace krasis::text {
namespace {

using Json = nlohmann::json;

// ASCII only: readers that also break lines at U+2028 or U+0085 still see one line.
std::string dump(const Json& json) {
  return json.dump(-1, ' ', true, Json::error_handler_t::replace);
}

std::string error_line(const std::string& what) {
  return dump(Json{{"error", what}});
}

}  // namespace

std::string tokenize_line(const Tokenizer& tokenizer, std::string_view line) {
  try {
    const Json request = Json::parse(line);
    if (!request.is_object()) return error_line("tokenize: the line is not a JSON object");
    const auto text = request.find("text");
    if (text == request.end() || !text->is_string())
      return error_line("tokenize: the object has no string \"text\"");
    const std::vector<std::int32_t> ids = tokenizer.encode(text->get_ref<const std::string&>());
    return dump(Json{{"ids", ids}, {"decoded", tokenizer.decode(ids)}});
  } catch (const Json::exception& error) {
    return error_line("tokenize: the line " + json_problem(line, error));
  } catch (const Error& error) {
    return error_line(error.what());
  }
}

}  // namespace krasis::text
