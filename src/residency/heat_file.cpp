#include "residency/heat_file.h"

#include <bit>
#include <cstring>
#include <fcntl.h>
#include <numeric>
#include <sys/stat.h>

#include "base/error.h"
#include "base/hash.h"

namespace krasis {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr char kMagic[] = {'k', 'r', 'a', 's', 'h', 'e', 'a', 't'};
constexpr std::uint32_t kVersion = 1;

template <class T>
void append(std::vector<std::byte>& bytes, const T& value) {
  const std::size_t at = bytes.size();
  bytes.resize(at + sizeof(T));
  std::memcpy(bytes.data() + at, &value, sizeof(T));
}

// What comes before the heat of a model with these layers.
std::vector<std::byte> header(std::span<const std::int64_t> experts) {
  std::vector<std::byte> bytes;
  for (const char letter : kMagic) append(bytes, letter);
  append(bytes, kVersion);
  append(bytes, static_cast<std::uint32_t>(experts.size()));
  for (const std::int64_t count : experts) append(bytes, static_cast<std::uint32_t>(count));
  return bytes;
}

[[noreturn]] void throw_corrupt(const std::filesystem::path& path, const char* what) {
  throw Error(ErrorCode::Corrupt, "file: " + path.string() + ": " + what +
                                      "; remove it, it is written anew when the program ends");
}

}  // namespace

void save_heat(FileSystem& files, const std::filesystem::path& path,
               std::span<const std::int64_t> experts, std::span<const float> heat) {
  std::vector<std::byte> bytes = header(experts);
  for (const float value : heat) append(bytes, value);
  append(bytes, xxh3_64(bytes));
  AtomicFile file(files, path);
  file.write(bytes, 0);
  file.commit();
}

std::vector<float> load_heat(FileSystem& files, const std::filesystem::path& path,
                             std::span<const std::int64_t> experts) {
  const FileDescriptor fd(files.open(path, O_RDONLY | O_CLOEXEC, 0));
  if (!fd.valid()) throw_file_error(path, "open");
  const std::vector<std::byte> expected = header(experts);
  const auto count =
      static_cast<std::size_t>(std::accumulate(experts.begin(), experts.end(), std::int64_t{0}));
  const std::size_t hashed = expected.size() + count * sizeof(float);
  struct stat state {};
  if (::fstat(fd.get(), &state) != 0) throw_file_error(path, "look at");
  if (static_cast<std::uint64_t>(state.st_size) != hashed + sizeof(std::uint64_t))
    throw_corrupt(path, "not the heat of this model's experts: another size");
  std::vector<std::byte> bytes(hashed + sizeof(std::uint64_t));
  read_at(files, fd, path, bytes, 0);
  if (std::memcmp(bytes.data(), expected.data(), expected.size()) != 0)
    throw_corrupt(path, "not the heat of this model's experts");
  std::uint64_t hash = 0;
  std::memcpy(&hash, bytes.data() + hashed, sizeof(hash));
  if (hash != xxh3_64(std::span(bytes).first(hashed)))
    throw_corrupt(path, "the heat of experts was damaged");
  std::vector<float> heat(count);
  std::memcpy(heat.data(), bytes.data() + expected.size(), count * sizeof(float));
  return heat;
}

}  // namespace krasis
