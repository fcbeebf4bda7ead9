// What is wrong with a text that is not JSON, in our words.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace krasis {

// A clause to put behind the text's name: "is not JSON from line 2, column 5 on", "is cut off in
// line 2, more JSON must follow" or "is not JSON: a number in it is too large". `error` is what
// nlohmann::json threw for the text.
std::string json_problem(std::string_view text, const nlohmann::json::exception& error);

}  // namespace krasis
