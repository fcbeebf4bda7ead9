#include "weights/expert_cache.h"

#include <algorithm>
#include <fstream>
#include <gtest/gtest.h>
#include <mutex>
#include <sys/stat.h>
#include <thread>

#include "base/file_lock.h"
#include "support/small_model.h"
#include "weights/cache_reader.h"

namespace krasis {
namespace {

using test::SmallModel;
using test::TemporaryFolder;

// A model, its cache and what was said about it.
class Fixture {
 public:
  Fixture() {
    options.type = {4, 128};
    options.progress.message = [this](const std::string& text) { messages.push_back(text); };
  }
  OpenedExperts open() {
    const auto source = model.open();
    return open_expert_cache(model.description(), *source, {model.path(), fallback.path()},
                             options);
  }
  std::filesystem::path file() const {
    return model.path() / ".krasis_cache" / "experts_int4_g128.krt";
  }
  // Everything in the cache's folder but locks.
  std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(file().parent_path()))
      if (entry.path().extension() != ".lock") names.push_back(entry.path().filename().string());
    std::ranges::sort(names);
    return names;
  }
  void flip_byte(std::uint64_t at) const {
    std::fstream stream(file(), std::ios::in | std::ios::out | std::ios::binary);
    stream.seekg(static_cast<std::streamoff>(at));
    const int byte = stream.get();
    stream.seekp(static_cast<std::streamoff>(at));
    stream.put(static_cast<char>(byte ^ 1));
  }
  std::string error() {
    try {
      open();
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }

  SmallModel model;
  TemporaryFolder fallback;
  TileOptions options;
  std::vector<std::string> messages;
};

const std::vector<std::string> kOnlyTheCache{"experts_int4_g128.krt"};

TEST(ExpertCache, IsBuiltOnceAndHoldsWhatMemoryWould) {
  Fixture fixture;
  const OpenedExperts first = fixture.open();
  EXPECT_TRUE(first.cache.built);
  EXPECT_EQ(first.cache.file, fixture.file());
  EXPECT_EQ(first.cache.folder_note, "");
  EXPECT_EQ(first.cache.rebuild_note, "");
  EXPECT_EQ(fixture.files(), kOnlyTheCache);
  const OpenedExperts second = fixture.open();
  EXPECT_FALSE(second.cache.built);
  EXPECT_TRUE(fixture.messages.empty());

  const auto source = fixture.model.open();
  const auto made = make_tile_experts(fixture.model.description(), *source, fixture.options);
  EXPECT_TRUE(std::ranges::equal(second.experts->memory(), made->memory()));
  EXPECT_TRUE(std::ranges::equal(first.experts->memory(), made->memory()));
  EXPECT_EQ(std::filesystem::file_size(fixture.file()), made->plan().file_bytes);
}

TEST(ExpertCache, IsTheSameFileWhateverTheThreads) {
  Fixture fixture;
  std::vector<std::string> contents;
  for (const int threads : {1, 3}) {
    fixture.options.threads = threads;
    fixture.open();
    contents.push_back(read_file(fixture.file()));
    std::filesystem::remove(fixture.file());
  }
  EXPECT_EQ(contents[0], contents[1]);
}

TEST(ExpertCache, IsBuiltAgainWhenTheSourceChanges) {
  Fixture fixture;
  fixture.open();
  fixture.model.write_weights(2);
  const OpenedExperts other = fixture.open();
  EXPECT_TRUE(other.cache.built);
  EXPECT_EQ(other.cache.rebuild_note, "was made from other weights or another config.json");
  ASSERT_EQ(fixture.messages.size(), 1U);
  EXPECT_EQ(fixture.messages[0],
            "expert cache: " + fixture.file().string() +
                " was made from other weights or another config.json; building it again");
  write_file_atomically(fixture.model.path() / "config.json", "{ }");
  EXPECT_TRUE(fixture.open().cache.built);
  EXPECT_FALSE(fixture.open().cache.built);
}

TEST(ExpertCache, KeepsAFileForEachTileType) {
  Fixture fixture;
  fixture.open();
  fixture.options.type = {8, 64};
  EXPECT_TRUE(fixture.open().cache.built);
  EXPECT_EQ(fixture.files(),
            (std::vector<std::string>{"experts_int4_g128.krt", "experts_int8_g64.krt"}));
  fixture.options.type = {4, 128};
  EXPECT_FALSE(fixture.open().cache.built);
  fixture.options.search = ScaleSearch::Nearest;
  EXPECT_EQ(fixture.open().cache.rebuild_note, "was made with another quantizer");
}

TEST(ExpertCache, IsNotMistakenForAnotherTypeThatWasRenamed) {
  Fixture fixture;
  fixture.options.type = {8, 64};
  fixture.open();
  std::filesystem::rename(fixture.file().parent_path() / "experts_int8_g64.krt", fixture.file());
  fixture.options.type = {4, 128};
  EXPECT_EQ(fixture.open().cache.rebuild_note,
            "holds INT8 in groups of 64, wanted INT4 in groups of 128");
}

TEST(ExpertCache, IsBuiltAgainWhenALayerIsDamaged) {
  Fixture fixture;
  const OpenedExperts good = fixture.open();
  const ExpertCachePlan& plan = good.experts->plan();
  fixture.flip_byte(plan.header_bytes + plan.layers[1].offset + 2 * plan.layers[1].bytes() / 3 + 5);
  const OpenedExperts again = fixture.open();
  EXPECT_TRUE(again.cache.built);
  EXPECT_TRUE(std::ranges::equal(again.experts->memory(), good.experts->memory()));
  ASSERT_EQ(fixture.messages.size(), 2U);
  EXPECT_EQ(fixture.messages[0], "expert cache: " + fixture.file().string() +
                                     ": layer 2 is damaged (its checksum does not fit); looking "
                                     "for a better one");
  EXPECT_FALSE(fixture.open().cache.built);
}

TEST(ExpertCache, ChecksEveryByteOfTheLayers) {
  Fixture fixture;
  const ExpertCachePlan plan = fixture.open().experts->plan();
  const std::uint64_t expert_bytes = plan.layers[0].layout.expert_bytes;
  const auto source = fixture.model.open();
  const CacheHeader wanted = cache_header_of(plan, fixture.options.search, source->fingerprint());
  EXPECT_NO_THROW(read_expert_cache(fixture.file(), plan, wanted, fixture.options));
  for (const std::uint64_t at :
       {std::uint64_t{0}, expert_bytes - 1, expert_bytes, 3 * expert_bytes - 1}) {
    fixture.flip_byte(plan.header_bytes + at);
    EXPECT_THROW(read_expert_cache(fixture.file(), plan, wanted, fixture.options), Error) << at;
    fixture.flip_byte(plan.header_bytes + at);
  }
  EXPECT_NO_THROW(read_expert_cache(fixture.file(), plan, wanted, fixture.options));
}

TEST(ExpertCache, IsBuiltAgainWhenItIsCutOffOrItsHeaderIsDamaged) {
  Fixture fixture;
  const std::uint64_t size = fixture.open().experts->plan().file_bytes;
  for (const std::uint64_t left : {size - 1, size / 2, std::uint64_t{50}, std::uint64_t{0}}) {
    std::filesystem::resize_file(fixture.file(), left);
    EXPECT_NE(fixture.open().cache.rebuild_note, "") << left;
  }
  std::filesystem::resize_file(fixture.file(), size + 1);
  EXPECT_EQ(fixture.open().cache.rebuild_note,
            "has " + std::to_string(size + 1) + " bytes, its header says " + std::to_string(size));
  fixture.flip_byte(60);
  EXPECT_EQ(fixture.open().cache.rebuild_note, "has a damaged header");
  EXPECT_FALSE(fixture.open().cache.built);
}

TEST(ExpertCache, NeverTouchesAForeignFile) {
  Fixture fixture;
  std::filesystem::create_directories(fixture.file().parent_path());
  write_file_atomically(fixture.file(), "somebody's thesis");
  EXPECT_EQ(fixture.error(), "expert cache: " + fixture.file().string() +
                                 ": is not an expert cache; move it away, a cache has to be built "
                                 "there");
  EXPECT_EQ(read_file(fixture.file()), "somebody's thesis");
  std::filesystem::remove(fixture.file());
  ASSERT_EQ(::mkfifo(fixture.file().c_str(), 0600), 0);
  EXPECT_NE(fixture.error().find("is not a regular file"), std::string::npos);
}

TEST(ExpertCache, GoesElsewhereWhenTheModelsFolderCannotBeWritten) {
  Fixture fixture;
  write_file_atomically(fixture.model.path() / ".krasis_cache", "in the way");
  const OpenedExperts opened = fixture.open();
  EXPECT_TRUE(opened.cache.built);
  EXPECT_EQ(opened.cache.file.parent_path().parent_path(), fixture.fallback.path());
  EXPECT_EQ(opened.cache.file.parent_path().filename().string(),
            fixture.model.path().filename().string() + "-" + fixture.model.open()->fingerprint());
  EXPECT_NE(opened.cache.folder_note.find(".krasis_cache cannot be written: "), std::string::npos);
  EXPECT_FALSE(fixture.open().cache.built);
}

TEST(ExpertCache, WaitsForWhoeverIsBuildingIt) {
  Fixture fixture;
  std::filesystem::create_directories(fixture.file().parent_path());
  auto lock = FileLock::try_lock(FileSystem::real(), fixture.file().string() + ".lock");
  ASSERT_TRUE(lock);
  fixture.options.progress.message = [&](const std::string& text) {
    EXPECT_EQ(text, "expert cache: another process is building " + fixture.file().string() +
                        "; waiting for it");
    fixture.messages.push_back(text);
    lock.reset();  // the other one ends
  };
  EXPECT_TRUE(fixture.open().cache.built);
  EXPECT_EQ(fixture.messages.size(), 1U);
}

TEST(ExpertCache, CanBeCancelledWhileWaiting) {
  Fixture fixture;
  std::filesystem::create_directories(fixture.file().parent_path());
  const auto lock = FileLock::try_lock(FileSystem::real(), fixture.file().string() + ".lock");
  CancelFlag cancel;
  fixture.options.cancel = &cancel;
  fixture.options.progress.message = [&](const std::string&) { cancel.raise(); };
  EXPECT_EQ(fixture.error(), "expert cache: cancelled");
}

TEST(ExpertCache, IsBuiltByOneOfManyThatStartAtOnce) {
  const SmallModel model;
  std::mutex built_mutex;
  int built = 0;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        TileOptions options;
        options.type = {4, 128};
        const auto source = model.open();
        const OpenedExperts opened =
            open_expert_cache(model.description(), *source, {model.path(), ""}, options);
        const std::lock_guard guard(built_mutex);
        built += opened.cache.built ? 1 : 0;
      });
    }
  }
  EXPECT_EQ(built, 1);
}

TEST(ExpertCache, RemovesWhatAKilledBuilderLeft) {
  Fixture fixture;
  std::filesystem::create_directories(fixture.file().parent_path());
  write_file_atomically(fixture.file().string() + ".tmp", "half a cache");
  fixture.open();
  EXPECT_EQ(fixture.files(), kOnlyTheCache);
}

TEST(ExpertCache, LeavesNothingWhenCancelled) {
  Fixture fixture;
  CancelFlag cancel;
  fixture.options.cancel = &cancel;
  fixture.options.threads = 1;
  fixture.options.progress.advance = [&](std::uint64_t, std::uint64_t) { cancel.raise(); };
  EXPECT_EQ(fixture.error(), "expert cache: cancelled");
  EXPECT_TRUE(fixture.files().empty());
}

TEST(ExpertCache, RefusesADiskThatIsTooSmall) {
  class SmallDisk final : public FileSystem {
    std::uint64_t free_bytes(const std::filesystem::path&) override { return 1000; }
  } disk;
  Fixture fixture;
  fixture.options.files = &disk;
  const std::uint64_t needed =
      plan_expert_cache(fixture.model.description().spec, {4, 128}).file_bytes;
  EXPECT_EQ(fixture.error(), "expert cache: " + fixture.file().string() + " needs " +
                                 std::to_string(needed) +
                                 " bytes, its disk has 1000 free; free some");
  EXPECT_TRUE(fixture.files().empty());
}

TEST(ExpertCache, IsNotKeptForMadeUpWeightsOrDenseModels) {
  const SmallModel model;
  TileOptions options;
  const auto dummy = make_dummy_source();
  EXPECT_THROW(prepare_expert_cache(model.description(), *dummy, {model.path(), ""}, options),
               Error);
  ModelDescription dense = model.description();
  dense.spec.layers.resize(1);
  const auto source = model.open();
  EXPECT_THROW(prepare_expert_cache(dense, *source, {model.path(), ""}, options), Error);
  EXPECT_FALSE(std::filesystem::exists(model.path() / ".krasis_cache"));
}

}  // namespace
}  // namespace krasis
