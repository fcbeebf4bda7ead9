// The system calls behind files that are written, or read in bulk. A class, so that tests can put
// faults in their place: a disk that fills up, a read that comes back short, a process that is
// killed between two writes. Each call means what the system's does, errno included.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <sys/types.h>

namespace krasis {

class FileSystem {
 public:
  FileSystem() = default;
  FileSystem(const FileSystem&) = delete;
  FileSystem& operator=(const FileSystem&) = delete;
  virtual ~FileSystem() = default;

  virtual int open(const std::filesystem::path& path, int flags, mode_t mode);
  virtual ssize_t pread(int fd, std::span<std::byte> bytes, std::uint64_t offset);
  virtual ssize_t pwrite(int fd, std::span<const std::byte> bytes, std::uint64_t offset);
  // Reserves the first `bytes` of a file, which then has at least that size.
  virtual int allocate(int fd, std::uint64_t bytes);
  virtual int fsync(int fd);
  virtual int rename(const std::filesystem::path& from, const std::filesystem::path& to);
  virtual int unlink(const std::filesystem::path& path);
  virtual std::uint64_t free_bytes(const std::filesystem::path& folder);  // for this user

  static FileSystem& real();
};

// Closes a file descriptor; -1 is none. Move-only.
class FileDescriptor {
 public:
  explicit FileDescriptor(int fd = -1) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept;
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  ~FileDescriptor();

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }

 private:
  int fd_;
};

// Throws what errno says about `path`: Error(NotFound) or Error(Io)
// "file: PATH: cannot ACTION: REASON".
[[noreturn]] void throw_file_error(const std::filesystem::path& path, const std::string& action);

// All of `bytes` from or to `offset`, in as many calls as it takes. Reading throws Error(Corrupt)
// if the file ends before.
void read_at(FileSystem& files, const FileDescriptor& fd, const std::filesystem::path& path,
             std::span<std::byte> bytes, std::uint64_t offset);
void write_at(FileSystem& files, const FileDescriptor& fd, const std::filesystem::path& path,
              std::span<const std::byte> bytes, std::uint64_t offset);

// A file that appears at `path` complete or not at all: written under a temporary name in the same
// folder, which commit() flushes to the disk and renames. Without commit() the temporary is
// removed. write() may be called from several threads, for ranges that do not overlap.
class AtomicFile {
 public:
  // The temporary stays behind when the process is killed. By default its name has the process id
  // in it; who makes sure that nobody else is writing passes one that is known beforehand.
  AtomicFile(FileSystem& files, const std::filesystem::path& path);
  AtomicFile(FileSystem& files, std::filesystem::path path, std::filesystem::path temporary);
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();

  // Makes sure that there is room for `bytes`, where the file system can; not needed before
  // write().
  void allocate(std::uint64_t bytes);
  void write(std::span<const std::byte> bytes, std::uint64_t offset);
  void commit();

  const std::filesystem::path& temporary_path() const { return temporary_; }

 private:
  FileSystem& files_;
  std::filesystem::path path_, temporary_;
  FileDescriptor fd_;
};

}  // namespace krasis
