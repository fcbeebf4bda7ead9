#include "arch/config_reader.h"

#include <gtest/gtest.h>

namespace krasis {
namespace {

using Json = nlohmann::json;

TEST(ConfigReader, TreatsNullAsAbsent) {
  const Json json = Json::parse(R"({"a": null, "b": 3})");
  const ConfigReader config(json, "config.json");
  EXPECT_FALSE(config.has("a"));
  EXPECT_EQ(config.integer("a", {}, 5), 5);
  EXPECT_EQ(config.integer("b", {}, 5), 3);
  EXPECT_FALSE(config.section("a").has_value());
}

TEST(ConfigReader, ShowsLongValuesShortened) {
  const Json json = {{"text", std::string(100, 'x')}, {"object", Json::object()}};
  const ConfigReader config(json, "config.json");
  EXPECT_EQ(config.shown("text"), "\"" + std::string(59, 'x') + "...");
  EXPECT_EQ(config.shown("object"), "an object");
  EXPECT_EQ(config.shown("none"), "nothing");
}

TEST(ConfigReader, TakesIntegersThatAreExact) {
  const Json json = {{"whole", 4096.0}, {"broken", 4096.5}, {"huge", 1e300}, {"big", UINT64_MAX}};
  const ConfigReader config(json, "config.json");
  EXPECT_EQ(config.integer("whole", {}), 4096);
  for (const char* key : {"broken", "huge", "big"})
    EXPECT_THROW(config.integer(key, {1, INT64_MAX}), Error) << key;
}

TEST(ConfigReader, SurvivesTextThatIsNotUtf8) {
  const Json json = {{"text", "\xff\xfe"}};
  const ConfigReader config(json, "config.json");
  EXPECT_NO_THROW(config.shown("text"));
}

}  // namespace
}  // namespace krasis
