#include "arch/config_reader.h"

#include <cmath>
#include <fmt/format.h>
#include <utility>

namespace krasis {
namespace {

constexpr std::size_t kShownCharacters = 60;

// The integer a JSON number stands for; 4096.0 counts, as some tools write it.
std::optional<std::int64_t> integer_value(const nlohmann::json& value) {
  if (value.is_number_unsigned()) {
    const auto number = value.get<std::uint64_t>();
    if (number > static_cast<std::uint64_t>(INT64_MAX)) return std::nullopt;
    return static_cast<std::int64_t>(number);
  }
  if (value.is_number_integer()) return value.get<std::int64_t>();
  if (!value.is_number_float()) return std::nullopt;
  const double number = value.get<double>();
  constexpr double kExact = 9007199254740992.0;  // 2^53: beyond it not every integer is a double
  if (!(std::abs(number) <= kExact) || number != std::trunc(number)) return std::nullopt;
  return static_cast<std::int64_t>(number);
}

}  // namespace

ConfigReader::ConfigReader(const nlohmann::json& object, std::string where)
    : object_(&object), where_(std::move(where)) {
  if (!object.is_object())
    throw Error(ErrorCode::Corrupt, fmt::format("{}: is not a JSON object", where_));
}

const nlohmann::json* ConfigReader::find(std::string_view key) const {
  const auto found = object_->find(key);
  return found == object_->end() || found->is_null() ? nullptr : &*found;
}

std::int64_t ConfigReader::integer(std::string_view key, IntegerRange range) const {
  const nlohmann::json* value = find(key);
  const std::optional<std::int64_t> number = value ? integer_value(*value) : std::nullopt;
  if (!number || *number < range.least || *number > range.most) {
    throw corrupt(key, fmt::format("must be an integer of {} to {}", range.least, range.most));
  }
  return *number;
}

std::int64_t ConfigReader::integer(std::string_view key, IntegerRange range,
                                   std::int64_t fallback) const {
  return has(key) ? integer(key, range) : fallback;
}

double ConfigReader::number(std::string_view key, NumberRange range) const {
  const nlohmann::json* value = find(key);
  const double number = value && value->is_number() ? value->get<double>() : std::nan("");
  if (!(number >= range.least && number <= range.most))
    throw corrupt(key, fmt::format("must be a number of {} to {}", range.least, range.most));
  return number;
}

double ConfigReader::number(std::string_view key, NumberRange range, double fallback) const {
  return has(key) ? number(key, range) : fallback;
}

bool ConfigReader::flag(std::string_view key, bool fallback) const {
  const nlohmann::json* value = find(key);
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) throw corrupt(key, "must be true or false");
  return value->get<bool>();
}

std::string ConfigReader::text(std::string_view key, std::string_view fallback) const {
  const nlohmann::json* value = find(key);
  if (value == nullptr) return std::string(fallback);
  if (!value->is_string()) throw corrupt(key, "must be a string");
  return value->get<std::string>();
}

std::optional<ConfigReader> ConfigReader::section(std::string_view key) const {
  const nlohmann::json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_object()) throw corrupt(key, "must be an object");
  return ConfigReader(*value, fmt::format("{}: {}", where_, key));
}

std::string ConfigReader::shown(std::string_view key) const {
  const nlohmann::json* value = find(key);
  if (value == nullptr) return "nothing";
  if (value->is_object()) return "an object";
  if (value->is_array()) return "a list";
  if (value->is_number_float() && !std::isfinite(value->get<double>())) return "not finite";
  std::string text = value->dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  if (text.size() > kShownCharacters) text = text.substr(0, kShownCharacters) + "...";
  return text;
}

Error ConfigReader::corrupt(std::string_view key, std::string_view must) const {
  return {ErrorCode::Corrupt, complaint(key, must)};
}

Error ConfigReader::unsupported(std::string_view key, std::string_view must) const {
  return {ErrorCode::Unsupported, complaint(key, must)};
}

std::string ConfigReader::complaint(std::string_view key, std::string_view must) const {
  return fmt::format("{}: \"{}\" is {}, but {}", where_, key, shown(key), must);
}

}  // namespace krasis
