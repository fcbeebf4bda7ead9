#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <map>
#include <set>

#include "published_configs.h"
#include "support/reference_data.h"

namespace krasis {
namespace {

using namespace test;

class ModelFolder {
 public:
  ModelFolder() : path_(std::filesystem::path(testing::TempDir()) / "krasis_model_folder") {
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  ~ModelFolder() { std::filesystem::remove_all(path_); }

  void write(const char* name, const std::string& text) const {
    std::ofstream(path_ / name) << text;
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

std::string error_of(const std::filesystem::path& dir) {
  try {
    read_model_description(dir);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Registry, NamesEveryModelTypeOnce) {
  std::set<std::string_view> names;
  for (const Architecture* architecture : architectures()) {
    for (const std::string_view name : architecture->model_types)
      EXPECT_TRUE(names.insert(name).second) << name;
  }
  EXPECT_EQ(names.size(), 9U);
}

TEST(Registry, GivesEachRoleOneName) {
  for (const Architecture* architecture : architectures()) {
    std::set<Role> roles;
    for (const TensorRule& rule : architecture->tensors)
      EXPECT_TRUE(roles.insert(rule.role).second) << rule.name;
  }
}

TEST(Registry, FillsInLayerAndExpert) {
  const Architecture& architecture = architecture_of(qwen3_235b());
  EXPECT_EQ(tensor_name(architecture, Role::ExpertUp, 93, 127),
            "model.layers.93.mlp.experts.127.up_proj.weight");
  EXPECT_EQ(tensor_name(architecture, Role::Embedding), "model.embed_tokens.weight");
  EXPECT_THROW(tensor_name(architecture, Role::KvUp), Error);
}

TEST(Registry, UnitesTheEndIdsOfBothFiles) {
  const ModelFolder folder;
  folder.write("config.json", qwen3_235b().dump());
  EXPECT_EQ(read_model_description(folder.path()).spec.end_ids, std::vector<std::int32_t>{151645});
  folder.write("generation_config.json", R"({"eos_token_id": [151645, 151643], "top_k": 20})");
  EXPECT_EQ(read_model_description(folder.path()).spec.end_ids,
            (std::vector<std::int32_t>{151645, 151643}));
  folder.write("generation_config.json", R"({"eos_token_id": "end"})");
  EXPECT_EQ(error_of(folder.path()),
            "generation_config.json: \"eos_token_id\" is \"end\", but must be a token id of 0 to "
            "2147483647 or a list of such ids");
}

TEST(Registry, NamesAFileThatIsMissingOrNotJson) {
  const ModelFolder folder;
  EXPECT_NE(error_of(folder.path()).find("config.json"), std::string::npos);
  const std::string name = (folder.path() / "config.json").string();
  const std::map<std::string, std::string> problems = {
      {"{\"model_type\": ", "is cut off in line 1, more JSON must follow"},
      {"{\n", "is cut off in line 2, more JSON must follow"},
      {" \n", "is empty, not JSON"},
      {"{\n  \"model_type\": llama}", "is not JSON from line 2, column 17 on"},
      {"\xff\xfe{}", "is not JSON from line 1, column 1 on"},
      {R"({"model_type": "llama", "rope_theta": 1e999})",
       "is not JSON: a number in it is too large"}};
  for (const auto& [text, problem] : problems) {
    folder.write("config.json", text);
    EXPECT_EQ(error_of(folder.path()), name + ": " + problem + "; download it again");
  }
}

TEST(Registry, ReadsEveryReferenceModel) {
  KRASIS_NEEDS_REFERENCE();
  std::size_t models = 0;
  for (const auto& entry : std::filesystem::directory_iterator(reference_dir() / "models")) {
    EXPECT_GE(read_model_description(entry.path()).spec.layers.size(), 2U) << entry.path();
    ++models;
  }
  EXPECT_EQ(models, 9U);
}

}  // namespace
}  // namespace krasis
