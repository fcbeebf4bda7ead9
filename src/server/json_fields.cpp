#include "server/json_fields.h"

#include <cmath>
#include <fmt/core.h>

#include "base/error.h"

namespace krasis::server {
namespace {

constexpr int kMaxDepth = 100;

void check_range(const char* name, double value, Range range) {
  if (value >= range.least && value <= range.most) return;
  refuse(fmt::format("{} is {}, choose {} to {}", name, value, range.least, range.most));
}

[[noreturn]] void refuse_type(const char* name, const Json& value, const char* wanted) {
  refuse(fmt::format("{} is {}, it must be {}", name, kind_of(value), wanted));
}

}  // namespace

void refuse(const std::string& text) {
  throw Error(ErrorCode::InvalidArgument, "request: " + text);
}

std::string kind_of(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null:
      return "null";
    case Json::value_t::object:
      return "an object";
    case Json::value_t::array:
      return "a list";
    case Json::value_t::string:
      return "a string";
    case Json::value_t::boolean:
      return "a boolean";
    default:
      return "a number";
  }
}

Json parse_body(std::string_view body) {
  const auto limit_depth = [](int depth, Json::parse_event_t, Json&) {
    if (depth > kMaxDepth)
      refuse(fmt::format("the body has more than {} levels of nesting", kMaxDepth));
    return true;
  };
  Json json;
  try {
    json = Json::parse(body, limit_depth);
  } catch (const Json::parse_error& error) {
    refuse(fmt::format("the body is no JSON from byte {} on", error.byte));
  } catch (const Json::exception&) {
    refuse("the body is no JSON: a number in it is too large");
  }
  if (!json.is_object()) refuse("the body is " + kind_of(json) + ", it must be an object");
  return json;
}

const Json* find(const Json& object, const char* name) {
  const auto at = object.find(name);
  return at == object.end() || at->is_null() ? nullptr : &*at;
}

std::optional<double> number(const Json& object, const char* name, Range range) {
  const Json* value = find(object, name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) refuse_type(name, *value, "a number");
  const double result = value->get<double>();
  check_range(name, result, range);
  return result;
}

std::optional<std::int64_t> integer(const Json& object, const char* name, Range range) {
  const Json* value = find(object, name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) refuse_type(name, *value, "a whole number");
  const double result = value->get<double>();
  check_range(name, result, range);
  // 256.0 is a whole number too: some clients know no other type.
  if (result != std::floor(result))
    refuse(fmt::format("{} is {}, it must be a whole number", name, result));
  return value->is_number_float() ? static_cast<std::int64_t>(result) : value->get<std::int64_t>();
}

std::optional<bool> boolean(const Json& object, const char* name) {
  const Json* value = find(object, name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) refuse_type(name, *value, "true or false");
  return value->get<bool>();
}

std::optional<std::string> string(const Json& object, const char* name) {
  const Json* value = find(object, name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) refuse_type(name, *value, "a string");
  return value->get<std::string>();
}

}  // namespace krasis::server
