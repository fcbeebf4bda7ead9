#include "text/jinja/from_json.h"

#include <string>
#include <utility>
#include <vector>

namespace krasis::jinja {
namespace {

using Json = nlohmann::ordered_json;

Value text_value(Runtime& runtime, const std::string& bytes) {
  if (!valid_utf8(bytes)) runtime.fail("a string of the messages is not valid UTF-8");
  return runtime.string(bytes);
}

Value convert(Runtime& runtime, const Json& json, int depth) {
  if (depth > kMaxJsonDepth)
    runtime.fail("the messages are nested more than " + std::to_string(kMaxJsonDepth) + " deep");
  switch (json.type()) {
    case Json::value_t::boolean:
      return Value::boolean(json.get<bool>());
    case Json::value_t::number_integer:
      return Value::integer(json.get<std::int64_t>());
    case Json::value_t::number_unsigned: {
      const auto number = json.get<std::uint64_t>();
      if (number > static_cast<std::uint64_t>(INT64_MAX))
        runtime.fail("the integer " + std::to_string(number) + " does not fit into 64 bits");
      return Value::integer(static_cast<std::int64_t>(number));
    }
    case Json::value_t::number_float:
      return Value::number(json.get<double>());
    case Json::value_t::string:
      return text_value(runtime, json.get_ref<const std::string&>());
    case Json::value_t::array: {
      std::vector<Value> items;
      items.reserve(json.size());
      for (const Json& item : json) items.push_back(convert(runtime, item, depth + 1));
      return runtime.list(std::move(items));
    }
    case Json::value_t::object: {
      Value result = runtime.dict();
      runtime.charge(json.size() * sizeof(Dict::Entry));
      for (const auto& [key, value] : json.items())
        result.dict().set(text_value(runtime, key), convert(runtime, value, depth + 1));
      return result;
    }
    default:
      return Value::none();
  }
}

}  // namespace

Value from_json(Runtime& runtime, const Json& json) {
  return convert(runtime, json, 0);
}

}  // namespace krasis::jinja
