#include "base/file_system.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/file.h"
#include "base/file_lock.h"
#include "support/temporary_folder.h"

namespace krasis {
namespace {

using test::TemporaryFolder;

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

TEST(AtomicFile, AppearsOnlyWhenCommitted) {
  const TemporaryFolder folder;
  const auto path = folder / "file";
  {
    AtomicFile file(FileSystem::real(), path);
    file.write(bytes_of("world"), 6);
    file.write(bytes_of("hello "), 0);
    EXPECT_FALSE(std::filesystem::exists(path));
    file.commit();
  }
  EXPECT_EQ(read_file(path), "hello world");
  {
    AtomicFile file(FileSystem::real(), path);
    file.write(bytes_of("other"), 0);
  }
  EXPECT_EQ(read_file(path), "hello world");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

TEST(AtomicFile, NamesThePathItCannotWrite) {
  const TemporaryFolder folder;
  const auto path = folder / "missing" / "file";
  try {
    AtomicFile file(FileSystem::real(), path, path.string() + ".tmp");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::NotFound);
    EXPECT_EQ(error.what(),
              "file: " + path.string() + ".tmp: cannot create: No such file or directory");
  }
}

TEST(File, DoesNotWaitForAPipe) {
  const TemporaryFolder folder;
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_THROW(read_file(folder / "pipe"), Error);
  EXPECT_THROW(MappedFile(folder / "pipe"), Error);
}

TEST(ReadAt, SaysWhereAFileEnds) {
  const TemporaryFolder folder;
  write_file_atomically(folder / "file", "0123456789");
  FileSystem& files = FileSystem::real();
  const FileDescriptor fd(files.open(folder / "file", O_RDONLY, 0));
  std::array<std::byte, 4> bytes{};
  read_at(files, fd, folder / "file", bytes, 6);
  EXPECT_EQ(std::to_integer<char>(bytes[3]), '9');
  try {
    read_at(files, fd, folder / "file", bytes, 7);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.what(),
              "file: " + (folder / "file").string() + ": ends at byte 10, 1 bytes early");
  }
}

TEST(FileLock, IsHeldByOneAtATime) {
  const TemporaryFolder folder;
  FileSystem& files = FileSystem::real();
  auto first = FileLock::try_lock(files, folder / "lock");
  ASSERT_TRUE(first);
  EXPECT_FALSE(FileLock::try_lock(files, folder / "lock"));
  first.reset();
  EXPECT_TRUE(FileLock::try_lock(files, folder / "lock"));
  EXPECT_THROW(FileLock::try_lock(files, folder / "missing" / "lock"), Error);
}

}  // namespace
}  // namespace krasis
