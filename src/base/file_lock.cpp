#include "base/file_lock.h"

#include <cerrno>
#include <fcntl.h>
#include <sys/file.h>

namespace krasis {

std::optional<FileLock> FileLock::try_lock(FileSystem& files, const std::filesystem::path& path) {
  FileDescriptor fd(files.open(path, O_RDWR | O_CREAT, 0666));
  // Another user's lock: reading is enough on local disks; network file systems lock writers only.
  if (!fd.valid() && errno == EACCES) fd = FileDescriptor(files.open(path, O_RDONLY, 0));
  if (!fd.valid()) throw_file_error(path, "open");
  while (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) return std::nullopt;
    if (errno != EINTR) throw_file_error(path, "lock");
  }
  return FileLock(std::move(fd));
}

}  // namespace krasis
