// A file system on which the N-th call goes wrong.
#pragma once

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <unistd.h>

#include "base/file_system.h"

namespace krasis::test {

class FaultyFileSystem final : public FileSystem {
 public:
  enum class Fault {
    IoError,      // the call fails with EIO, those after it succeed
    DiskFull,     // it and every later write, reservation and flush fail with ENOSPC
    Interrupted,  // fails with EINTR once, as a signal does
    Short,        // a read or write does 7 bytes of what it was asked
    EndOfFile,    // a read finds the file's end, a write does nothing
    Killed,       // the process ends, in the middle of a write
  };
  static constexpr int kKilledStatus = 42;

  FaultyFileSystem(Fault fault, int call) : fault_(fault), call_(call) {}

  bool happened() const { return calls_ > call_; }

  int open(const std::filesystem::path& path, int flags, mode_t mode) override {
    return fails(Kind::Other) ? -1 : FileSystem::open(path, flags, mode);
  }
  ssize_t pread(int fd, std::span<std::byte> bytes, std::uint64_t offset) override {
    if (fails(Kind::Read)) return -1;
    if (now_ && fault_ == Fault::EndOfFile) return 0;
    return FileSystem::pread(fd, shortened(bytes), offset);
  }
  ssize_t pwrite(int fd, std::span<const std::byte> bytes, std::uint64_t offset) override {
    if (fails(Kind::Write)) return -1;
    if (now_ && fault_ == Fault::EndOfFile) return 0;
    const ssize_t written = FileSystem::pwrite(fd, shortened(bytes), offset);
    if (now_ && fault_ == Fault::Killed) ::_exit(kKilledStatus);
    return written;
  }
  int allocate(int fd, std::uint64_t bytes) override {
    return fails(Kind::Flush) ? -1 : FileSystem::allocate(fd, bytes);
  }
  int fsync(int fd) override { return fails(Kind::Flush) ? -1 : FileSystem::fsync(fd); }
  int rename(const std::filesystem::path& from, const std::filesystem::path& to) override {
    return fails(Kind::Other) ? -1 : FileSystem::rename(from, to);
  }

 private:
  enum class Kind { Read, Write, Flush, Other };

  // Counts the call; true, with errno set, if it fails as a whole.
  bool fails(Kind kind) {
    const int call = calls_++;
    now_ = call == call_;
    const bool takes_room = kind == Kind::Write || kind == Kind::Flush;
    if (fault_ == Fault::DiskFull && call >= call_ && takes_room) return fail(ENOSPC);
    if (!now_) return false;
    if (fault_ == Fault::IoError) return fail(EIO);
    if (fault_ == Fault::Interrupted && kind != Kind::Other) return fail(EINTR);
    if (fault_ == Fault::Killed && kind != Kind::Write) ::_exit(kKilledStatus);
    return false;
  }
  static bool fail(int code) {
    errno = code;
    return true;
  }
  template <class Bytes>
  Bytes shortened(Bytes bytes) const {
    if (!now_ || (fault_ != Fault::Short && fault_ != Fault::Killed)) return bytes;
    return bytes.first(std::min<std::size_t>(bytes.size(), 7));
  }

  const Fault fault_;
  const int call_;
  int calls_ = 0;  // used from one thread only
  bool now_ = false;
};

}  // namespace krasis::test
