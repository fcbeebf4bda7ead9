// Reading a request's JSON: strict about types, quiet about what it does not know. A member that is
// null counts as absent. All errors are Error(InvalidArgument) "request: NAME is ..., ...".
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace krasis::server {

using Json = nlohmann::ordered_json;  // templates see the members in the client's order

// The body as a JSON object. Refuses more than 100 levels of nesting: what comes after would
// recurse as deep.
Json parse_body(std::string_view body);

// The member, or nullptr if it is absent or null.
const Json* find(const Json& object, const char* name);

struct Range {
  double least;
  double most;
};

std::optional<double> number(const Json& object, const char* name, Range range);
std::optional<std::int64_t> integer(const Json& object, const char* name, Range range);
std::optional<bool> boolean(const Json& object, const char* name);
std::optional<std::string> string(const Json& object, const char* name);

[[noreturn]] void refuse(const std::string& text);

// "a string", "a list", ...
std::string kind_of(const Json& value);

}  // namespace krasis::server
