#include "base/file_system.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <utility>

#include "base/error.h"

namespace krasis {

int FileSystem::open(const std::filesystem::path& path, int flags, mode_t mode) {
  return ::open(path.c_str(), flags | O_CLOEXEC, mode);
}

ssize_t FileSystem::pread(int fd, std::span<std::byte> bytes, std::uint64_t offset) {
  return ::pread(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
}

ssize_t FileSystem::pwrite(int fd, std::span<const std::byte> bytes, std::uint64_t offset) {
  return ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
}

int FileSystem::allocate(int fd, std::uint64_t bytes) {
  return ::fallocate(fd, 0, 0, static_cast<off_t>(bytes));
}

int FileSystem::fsync(int fd) {
  return ::fsync(fd);
}

int FileSystem::rename(const std::filesystem::path& from, const std::filesystem::path& to) {
  return ::rename(from.c_str(), to.c_str());
}

int FileSystem::unlink(const std::filesystem::path& path) {
  return ::unlink(path.c_str());
}

std::uint64_t FileSystem::free_bytes(const std::filesystem::path& folder) {
  struct statvfs status {};
  if (::statvfs(folder.c_str(), &status) != 0) throw_file_error(folder, "read its free space");
  return std::uint64_t{status.f_bavail} * status.f_frsize;
}

FileSystem& FileSystem::real() {
  static FileSystem files;
  return files;
}

FileDescriptor::FileDescriptor(FileDescriptor&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)) {}

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

FileDescriptor::~FileDescriptor() {
  if (fd_ >= 0) ::close(fd_);
}

void throw_file_error(const std::filesystem::path& path, const std::string& action) {
  const int code = errno;
  throw Error(code == ENOENT ? ErrorCode::NotFound : ErrorCode::Io,
              "file: " + path.string() + ": cannot " + action + ": " + std::strerror(code));
}

void read_at(FileSystem& files, const FileDescriptor& fd, const std::filesystem::path& path,
             std::span<std::byte> bytes, std::uint64_t offset) {
  while (!bytes.empty()) {
    const ssize_t got = files.pread(fd.get(), bytes, offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw_file_error(path, "read");
    if (got == 0) {
      throw Error(ErrorCode::Corrupt, "file: " + path.string() + ": ends at byte " +
                                          std::to_string(offset) + ", " +
                                          std::to_string(bytes.size()) + " bytes early");
    }
    bytes = bytes.subspan(static_cast<std::size_t>(got));
    offset += static_cast<std::uint64_t>(got);
  }
}

void write_at(FileSystem& files, const FileDescriptor& fd, const std::filesystem::path& path,
              std::span<const std::byte> bytes, std::uint64_t offset) {
  while (!bytes.empty()) {
    const ssize_t written = files.pwrite(fd.get(), bytes, offset);
    if (written < 0 && errno == EINTR) continue;
    if (written == 0) errno = ENOSPC;  // a regular file takes nothing only if there is no room
    if (written <= 0) throw_file_error(path, "write");
    bytes = bytes.subspan(static_cast<std::size_t>(written));
    offset += static_cast<std::uint64_t>(written);
  }
}

AtomicFile::AtomicFile(FileSystem& files, const std::filesystem::path& path)
    : AtomicFile(files, path,
                 path.string() + ".tmp" + std::to_string(static_cast<long>(::getpid()))) {}

AtomicFile::AtomicFile(FileSystem& files, std::filesystem::path path,
                       std::filesystem::path temporary)
    : files_(files),
      path_(std::move(path)),
      temporary_(std::move(temporary)),
      fd_(files.open(temporary_, O_RDWR | O_CREAT | O_TRUNC, 0644)) {
  if (!fd_.valid()) throw_file_error(temporary_, "create");
}

AtomicFile::~AtomicFile() {
  if (fd_.valid()) files_.unlink(temporary_);
}

void AtomicFile::allocate(std::uint64_t bytes) {
  while (files_.allocate(fd_.get(), bytes) != 0) {
    if (errno == EINTR) continue;
    if (errno == EOPNOTSUPP || errno == ENOSYS) return;
    throw_file_error(temporary_, "reserve " + std::to_string(bytes) + " bytes");
  }
}

void AtomicFile::write(std::span<const std::byte> bytes, std::uint64_t offset) {
  write_at(files_, fd_, temporary_, bytes, offset);
}

void AtomicFile::commit() {
  while (files_.fsync(fd_.get()) != 0)
    if (errno != EINTR) throw_file_error(temporary_, "write to disk");
  if (files_.rename(temporary_, path_) != 0) throw_file_error(path_, "replace");
  fd_ = FileDescriptor();
}

}  // namespace krasis
