// Files, as the rest of krasis sees them. Every error is an Error(NotFound | Io) that names the
// path and what the system said.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace krasis {

// The whole file. Throws Error(NotFound) if there is none, Error(Unsupported) if it is larger than
// `max_bytes`.
std::string read_file(const std::filesystem::path& path,
                      std::size_t max_bytes = std::size_t{1} << 30);

// Writes through a temporary file in the same folder, fsync and rename: after a crash the path
// holds the old bytes or the new ones.
void write_file_atomically(const std::filesystem::path& path, std::string_view bytes);

// A read-only mapping of a whole file. Move-only.
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::filesystem::path& path() const { return path_; }
  std::int64_t modified_ns() const { return modified_ns_; }  // since the epoch

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  std::int64_t modified_ns_ = 0;
};

}  // namespace krasis
