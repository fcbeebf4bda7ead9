#include "formats/checkpoint.h"

#include <algorithm>
#include <array>
#include <gtest/gtest.h>

#include "support/reference_data.h"
#include "support/temporary_folder.h"

namespace krasis {
namespace {

using test::TemporaryFolder;

void write_shard(const std::filesystem::path& path, const std::vector<std::string>& names) {
  static const std::array<float, 2> kValues{1, 2};
  std::vector<NamedTensor> tensors;
  for (const std::string& name : names)
    tensors.push_back({name, view_of(std::span<const float>(kValues), Shape{2})});
  write_safetensors(path, tensors);
}

void write_index(const TemporaryFolder& folder, const std::string& weight_map) {
  write_file_atomically(folder / "model.safetensors.index.json",
                        "{\"metadata\":{\"total_size\":16},\"weight_map\":" + weight_map + "}");
}

std::string error_of(const TemporaryFolder& folder) {
  try {
    const Checkpoint checkpoint(folder.path());
  } catch (const Error& error) {
    std::string text = error.what();
    const std::string prefix = "checkpoint: " + folder.path().string() + ": ";
    EXPECT_EQ(text.substr(0, prefix.size()), prefix);
    return text.substr(std::min(prefix.size(), text.size()));
  }
  return "no error";
}

TEST(Checkpoint, FindsTensorsInShards) {
  const TemporaryFolder folder;
  write_shard(folder / "one.safetensors", {"a", "unlisted"});
  write_shard(folder / "two.safetensors", {"b"});
  write_index(folder, R"({"a":"one.safetensors","b":"two.safetensors"})");
  const Checkpoint checkpoint(folder.path());
  EXPECT_EQ(checkpoint.tensors(), 2U);
  ASSERT_TRUE(checkpoint.find("b"));
  EXPECT_EQ(checkpoint.find("b")->as<float>()[1], 2.0F);
  EXPECT_FALSE(checkpoint.find("c"));
}

TEST(Checkpoint, NamesWhatIsMissing) {
  const TemporaryFolder folder;
  EXPECT_EQ(error_of(folder),
            "has neither model.safetensors nor model.safetensors.index.json; is this a model's "
            "folder in the hub's format?");
  write_index(folder, R"({"a":"one.safetensors"})");
  EXPECT_EQ(error_of(folder),
            "shard one.safetensors is missing (it holds \"a\"); finish the download");
  write_shard(folder / "one.safetensors", {"b"});
  EXPECT_EQ(error_of(folder), "one.safetensors has no tensor \"a\", which the index places there");
}

TEST(Checkpoint, RefusesAMalformedIndex) {
  const TemporaryFolder folder;
  for (const char* map : {"[]", R"({"a":1})", R"({"a":"../one.safetensors"})",
                          R"({"a":"/etc/passwd"})", R"({"a":""})", R"({"a":".."})", "{"}) {
    write_index(folder, map);
    EXPECT_NE(error_of(folder), "no error") << map;
  }
  write_file_atomically(folder / "model.safetensors.index.json", "[]");
  EXPECT_EQ(error_of(folder), "model.safetensors.index.json: has no weight_map");
}

TEST(Checkpoint, AlignsTensorsThatLieAskew) {
  const TemporaryFolder folder;
  const std::array<std::uint8_t, 1> byte{3};
  const std::array<float, 2> floats{4, 5};
  write_safetensors(
      folder / "model.safetensors",
      std::array{NamedTensor{"byte", view_of(std::span<const std::uint8_t>(byte), Shape{1})},
                 NamedTensor{"floats", view_of(std::span<const float>(floats), Shape{2})}});
  const Checkpoint checkpoint(folder.path());
  const TensorView view = *checkpoint.find("floats");
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(view.data()) % alignof(float), 0U);
  EXPECT_TRUE(std::ranges::equal(view.as<float>(), floats));
  EXPECT_EQ(view.data(), checkpoint.find("floats")->data());
}

TEST(Checkpoint, FingerprintChangesWithWhatItStandsFor) {
  const TemporaryFolder folder;
  write_shard(folder / "model.safetensors", {"a", "b"});
  write_file_atomically(folder / "config.json", "{}");
  const std::string before = Checkpoint(folder.path()).fingerprint();
  EXPECT_EQ(before.size(), 32U);
  EXPECT_EQ(Checkpoint(folder.path()).fingerprint(), before);

  write_file_atomically(folder / "config.json", "{ }");
  const std::string other_config = Checkpoint(folder.path()).fingerprint();
  EXPECT_NE(other_config, before);

  std::filesystem::last_write_time(
      folder / "model.safetensors",
      std::filesystem::last_write_time(folder / "model.safetensors") + std::chrono::seconds(1));
  const std::string other_time = Checkpoint(folder.path()).fingerprint();
  EXPECT_NE(other_time, other_config);

  const auto time = std::filesystem::last_write_time(folder / "model.safetensors");
  write_shard(folder / "model.safetensors", {"a", "c"});
  std::filesystem::last_write_time(folder / "model.safetensors", time);
  EXPECT_NE(Checkpoint(folder.path()).fingerprint(), other_time);
}

TEST(Checkpoint, OpensRealModelFolders) {
  KRASIS_NEEDS_REFERENCE();
  const Checkpoint checkpoint(test::reference_dir() / "models" / "qwen3-moe-tiny");
  EXPECT_EQ(checkpoint.find("model.layers.0.mlp.experts.0.down_proj.weight")->shape(),
            (Shape{256, 128}));
}

}  // namespace
}  // namespace krasis
