// A lock between processes (and between threads) that ends with whoever holds it, however it ends.
#pragma once

#include <filesystem>
#include <optional>

#include "base/file_system.h"

namespace krasis {

// Held until destroyed. Move-only. The lock's file stays: removing it would let a third process
// lock another file of the same name.
class FileLock {
 public:
  // nullopt if somebody else holds it. Throws Error(NotFound | Io) if the file cannot be made.
  static std::optional<FileLock> try_lock(FileSystem& files, const std::filesystem::path& path);

 private:
  explicit FileLock(FileDescriptor fd) : fd_(std::move(fd)) {}

  FileDescriptor fd_;
};

}  // namespace krasis
