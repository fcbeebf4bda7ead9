#include "base/file.h"

#include <cerrno>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

#include "base/error.h"
#include "base/file_system.h"

namespace krasis {
namespace {

// Without O_NONBLOCK a pipe of that name would be waited for.
constexpr int kReadFlags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;

struct stat status_of(const FileDescriptor& fd, const std::filesystem::path& path) {
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) throw_file_error(path, "read its size");
  if (!S_ISREG(status.st_mode))
    throw Error(ErrorCode::Io, "file: " + path.string() + ": is not a regular file");
  return status;
}

}  // namespace

std::string read_file(const std::filesystem::path& path, std::size_t max_bytes) {
  const FileDescriptor fd(::open(path.c_str(), kReadFlags));
  if (!fd.valid()) throw_file_error(path, "open");
  const auto size = static_cast<std::size_t>(status_of(fd, path).st_size);
  if (size > max_bytes) {
    throw Error(ErrorCode::Unsupported, "file: " + path.string() + ": has " + std::to_string(size) +
                                            " bytes, at most " + std::to_string(max_bytes) +
                                            " are read");
  }
  std::string text(size, '\0');
  std::size_t done = 0;
  while (done < size) {
    const ssize_t got = ::read(fd.get(), text.data() + done, size - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw_file_error(path, "read");
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  text.resize(done);
  return text;
}

void write_file_atomically(const std::filesystem::path& path, std::string_view bytes) {
  AtomicFile file(FileSystem::real(), path);
  file.write(std::as_bytes(std::span(bytes)), 0);
  file.commit();
}

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path) {
  const FileDescriptor fd(::open(path.c_str(), kReadFlags));
  if (!fd.valid()) throw_file_error(path, "open");
  const struct stat status = status_of(fd, path);
  size_ = static_cast<std::size_t>(status.st_size);
  modified_ns_ = std::int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec;
  if (size_ == 0) return;
  void* address = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, fd.get(), 0);
  if (address == MAP_FAILED) throw_file_error(path, "map");
  data_ = static_cast<const std::byte*>(address);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      modified_ns_(other.modified_ns_) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(modified_ns_, other.modified_ns_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

}  // namespace krasis
