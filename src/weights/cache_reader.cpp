#include "weights/cache_reader.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <vector>

#include "base/parallel.h"

namespace krasis {
namespace {

// Enough requests under way to keep an NVMe disk busy, and not so many that they disturb a hard
// disk.
constexpr int kMinThreads = 4;
constexpr int kMaxThreads = 16;
constexpr std::size_t kPieceBytes = std::size_t{8} << 20;  // of one read
constexpr std::size_t kDirectAlignment = 4096;             // of address, offset and length

[[noreturn]] void refuse(const std::filesystem::path& path, const std::string& reason) {
  throw Error(ErrorCode::Corrupt, "expert cache: " + path.string() + ": " + reason +
                                      "; delete the file, it is built again from the checkpoint");
}

FileDescriptor open_for_reading(FileSystem& files, const std::filesystem::path& path, int flags) {
  // Without O_NONBLOCK a pipe of that name would be waited for.
  return FileDescriptor(files.open(path, O_RDONLY | O_NONBLOCK | flags, 0));
}

// Reads past the page cache as far as the file system goes along, the rest through it.
class PieceReader {
 public:
  PieceReader(FileSystem& files, const std::filesystem::path& path)
      : files_(files),
        path_(path),
        buffered_(open_for_reading(files, path, 0)),
        direct_(open_for_reading(files, path, O_DIRECT)) {
    if (!buffered_.valid()) throw_file_error(path, "open");
  }

  void read(std::span<std::byte> bytes, std::uint64_t offset) const {
    const std::size_t done = direct_.valid() ? read_directly(bytes, offset) : 0;
    read_at(files_, buffered_, path_, bytes.subspan(done), offset + done);
  }

  const FileDescriptor& descriptor() const { return buffered_; }

 private:
  // Bytes read; fewer than asked for where the rest has to come another way.
  std::size_t read_directly(std::span<std::byte> bytes, std::uint64_t offset) const {
    std::size_t done = 0;
    while (done < bytes.size() && done % kDirectAlignment == 0) {
      const ssize_t got = files_.pread(direct_.get(), bytes.subspan(done), offset + done);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) break;  // refused, or an error that the buffered read will report
      done += static_cast<std::size_t>(got);
    }
    return done;
  }

  FileSystem& files_;
  const std::filesystem::path& path_;
  FileDescriptor buffered_, direct_;
};

ParsedCacheHeader read_header(FileSystem& files, const FileDescriptor& fd,
                              const std::filesystem::path& path) {
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) throw_file_error(path, "read its size");
  if (!S_ISREG(status.st_mode)) {
    return {.header = std::nullopt,
            .problem = CacheProblem::Foreign,
            .reason = "is not a regular file"};
  }
  const auto size = static_cast<std::uint64_t>(status.st_size);
  std::vector<std::byte> bytes(std::min<std::uint64_t>(size, kMaxCacheHeaderBytes));
  read_at(files, fd, path, bytes, 0);
  ParsedCacheHeader parsed = parse_cache_header(bytes);
  if (parsed.header && parsed.header->file_bytes != size) {
    return {.header = std::nullopt,
            .problem = CacheProblem::Damaged,
            .reason = "has " + std::to_string(size) + " bytes, its header says " +
                      std::to_string(parsed.header->file_bytes)};
  }
  return parsed;
}

// Neighbouring experts that are read as one piece.
struct Piece {
  std::size_t first_slot, last_slot;
};

std::vector<Piece> pieces_of(const std::vector<ExpertSlot>& slots) {
  std::vector<Piece> pieces;
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < slots.size(); ++i) {
    const bool continues = !pieces.empty() && bytes + slots[i].bytes <= kPieceBytes &&
                           slots[i - 1].layer_index == slots[i].layer_index;
    if (!continues) {
      pieces.push_back({i, i});
      bytes = 0;
    }
    pieces.back().last_slot = i + 1;
    bytes += slots[i].bytes;
  }
  return pieces;
}

}  // namespace

ParsedCacheHeader read_cache_header(FileSystem& files, const std::filesystem::path& path) {
  const FileDescriptor fd = open_for_reading(files, path, 0);
  if (!fd.valid()) throw_file_error(path, "open");
  return read_header(files, fd, path);
}

std::unique_ptr<TileArena> read_expert_cache(const std::filesystem::path& path,
                                             const ExpertCachePlan& plan, const CacheHeader& wanted,
                                             const TileOptions& options) {
  const PieceReader reader(*options.files, path);
  const ParsedCacheHeader parsed = read_header(*options.files, reader.descriptor(), path);
  if (!parsed.header) refuse(path, parsed.reason);
  const std::string difference = cache_difference(*parsed.header, wanted);
  if (!difference.empty()) refuse(path, difference);

  auto arena = std::make_unique<TileArena>(plan);
  const std::vector<ExpertSlot> slots = expert_slots(plan);
  const std::vector<Piece> pieces = pieces_of(slots);
  std::vector<LayerChecksum> checksums(plan.layers.begin(), plan.layers.end());
  ProgressSum progress(options.progress, plan.file_bytes - plan.header_bytes);
  const int threads = options.threads > 0
                          ? options.threads
                          : std::clamp(usable_processors(), kMinThreads, kMaxThreads);
  for_each_in_parallel(static_cast<std::int64_t>(pieces.size()), threads, [&](std::int64_t index) {
    if (options.cancel != nullptr) options.cancel->check("expert cache");
    const Piece& piece = pieces[static_cast<std::size_t>(index)];
    const ExpertSlot& first = slots[piece.first_slot];
    const std::size_t bytes = (piece.last_slot - piece.first_slot) * first.bytes;
    const auto target = arena->memory().subspan(static_cast<std::size_t>(first.offset), bytes);
    for (std::size_t done = 0; done < bytes; done += kPieceBytes) {
      reader.read(target.subspan(done, std::min(kPieceBytes, bytes - done)),
                  plan.header_bytes + first.offset + done);
    }
    for (std::size_t i = piece.first_slot; i < piece.last_slot; ++i)
      checksums[first.layer_index].set(slots[i].expert, arena->expert(slots[i]));
    progress.add(bytes);
  });
  for (std::size_t i = 0; i < plan.layers.size(); ++i) {
    if (checksums[i].value() != parsed.header->layers[i].checksum) {
      refuse(path, "layer " + std::to_string(plan.layers[i].layer) +
                       " is damaged (its checksum does not fit)");
    }
  }
  return arena;
}

}  // namespace krasis
