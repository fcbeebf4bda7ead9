#include "residency/heat_file.h"

#include <fcntl.h>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>

#include "base/error.h"
#include "support/faulty_file_system.h"
#include "support/temporary_folder.h"

namespace krasis {
namespace {

const std::vector<std::int64_t> kExpertsOfLayers = {3, 2};
const std::vector<float> kHeat = {1.5F, 0, 7, 0.25F, 3};

std::vector<char> read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}
void write(const std::filesystem::path& path, const std::vector<char>& bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), std::ssize(bytes));
}

// The code that loading the file throws.
std::optional<ErrorCode> complaint(const std::filesystem::path& path,
                                   std::span<const std::int64_t> experts = kExpertsOfLayers) {
  try {
    static_cast<void>(load_heat(FileSystem::real(), path, experts));
  } catch (const Error& error) {
    return error.code();
  }
  return std::nullopt;
}

TEST(HeatFile, GivesBackWhatWasSaved) {
  const test::TemporaryFolder folder;
  save_heat(FileSystem::real(), folder / "heat", kExpertsOfLayers, kHeat);
  EXPECT_EQ(load_heat(FileSystem::real(), folder / "heat", kExpertsOfLayers), kHeat);
  const std::vector<float> other = {0, 0, 0, 0, 1};
  save_heat(FileSystem::real(), folder / "heat", kExpertsOfLayers, other);
  EXPECT_EQ(load_heat(FileSystem::real(), folder / "heat", kExpertsOfLayers), other);
}

TEST(HeatFile, AbsentIsNotFound) {
  const test::TemporaryFolder folder;
  EXPECT_EQ(complaint(folder / "heat"), ErrorCode::NotFound);
}

TEST(HeatFile, OfAnotherModelIsCorrupt) {
  const test::TemporaryFolder folder;
  save_heat(FileSystem::real(), folder / "heat", kExpertsOfLayers, kHeat);
  for (const std::vector<std::int64_t>& experts :
       {std::vector<std::int64_t>{2, 3}, std::vector<std::int64_t>{5},
        std::vector<std::int64_t>{3, 2, 1}, std::vector<std::int64_t>{}})
    EXPECT_EQ(complaint(folder / "heat", experts), ErrorCode::Corrupt);
}

TEST(HeatFile, EveryChangedByteAndEveryOtherLengthIsCorrupt) {
  const test::TemporaryFolder folder;
  const auto path = folder / "heat";
  save_heat(FileSystem::real(), path, kExpertsOfLayers, kHeat);
  const std::vector<char> good = read(path);
  for (std::size_t i = 0; i < good.size(); ++i) {
    std::vector<char> bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 4);
    write(path, bad);
    EXPECT_EQ(complaint(path), ErrorCode::Corrupt) << "byte " << i;
    bad.assign(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(i));
    write(path, bad);
    EXPECT_EQ(complaint(path), ErrorCode::Corrupt) << "length " << i;
  }
  std::vector<char> longer = good;
  longer.push_back(0);
  write(path, longer);
  EXPECT_EQ(complaint(path), ErrorCode::Corrupt);
}

// Whatever goes wrong while a file is replaced, there is a whole one.
TEST(HeatFile, AFailedWriteLeavesTheOldFile) {
  using Fault = test::FaultyFileSystem::Fault;
  const test::TemporaryFolder folder;
  const auto path = folder / "heat";
  const std::vector<float> other = {0, 0, 0, 0, 1};
  for (const Fault fault : {Fault::IoError, Fault::DiskFull, Fault::Interrupted, Fault::Short}) {
    for (int call = 0;; ++call) {
      save_heat(FileSystem::real(), path, kExpertsOfLayers, kHeat);
      test::FaultyFileSystem files(fault, call);
      bool saved = true;
      try {
        save_heat(files, path, kExpertsOfLayers, other);
      } catch (const Error&) {
        saved = false;
      }
      EXPECT_EQ(load_heat(FileSystem::real(), path, kExpertsOfLayers), saved ? other : kHeat);
      if (!files.happened()) break;
    }
  }
}

}  // namespace
}  // namespace krasis
