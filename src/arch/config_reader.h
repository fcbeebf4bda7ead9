// Reading a config.json without trusting it. Every complaint names the file's section, the key and
// the value found.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"

namespace krasis {

// Bounds that no model comes near; they keep every product of sizes far from overflow.
constexpr std::int64_t kMaxWidth = std::int64_t{1} << 22;    // hidden, intermediate, ranks
constexpr std::int64_t kMaxHeads = std::int64_t{1} << 12;    // heads, and numbers in one head
constexpr std::int64_t kMaxLayers = std::int64_t{1} << 10;   // layers
constexpr std::int64_t kMaxExperts = std::int64_t{1} << 16;  // experts of a layer
constexpr std::int64_t kMaxVocab = std::int64_t{1} << 24;    // token ids
constexpr std::int64_t kMaxTokens = std::int64_t{1} << 30;   // context length

struct IntegerRange {
  std::int64_t least = 1;
  std::int64_t most = kMaxWidth;
};
struct NumberRange {
  double least = 0;
  double most = 0;
};

// One JSON object. A key whose value is null counts as absent, as in the models' own code. Views
// the JSON, which outlives the reader.
class ConfigReader {
 public:
  // where: "config.json", or "config.json: text_config". Throws Error(Corrupt) unless it is an
  // object.
  ConfigReader(const nlohmann::json& object, std::string where);

  bool has(std::string_view key) const { return find(key) != nullptr; }
  const nlohmann::json* find(std::string_view key) const;  // nullptr: absent or null

  // Throw Error(Corrupt) if the key is absent (without a fallback), has another type or lies
  // outside the range.
  std::int64_t integer(std::string_view key, IntegerRange range) const;
  std::int64_t integer(std::string_view key, IntegerRange range, std::int64_t fallback) const;
  double number(std::string_view key, NumberRange range) const;
  double number(std::string_view key, NumberRange range, double fallback) const;
  bool flag(std::string_view key, bool fallback) const;
  std::string text(std::string_view key, std::string_view fallback) const;
  std::optional<ConfigReader> section(std::string_view key) const;  // nullopt: absent

  const std::string& where() const { return where_; }

  // The value of a key as it is written, shortened, for messages; "nothing" if it is absent.
  std::string shown(std::string_view key) const;

  // `WHERE: "KEY" is VALUE, but MUST`
  Error corrupt(std::string_view key, std::string_view must) const;
  Error unsupported(std::string_view key, std::string_view must) const;

 private:
  std::string complaint(std::string_view key, std::string_view must) const;

  const nlohmann::json* object_;
  std::string where_;
};

}  // namespace krasis
