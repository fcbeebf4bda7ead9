#include "weights/expert_cache.h"

#include <cerrno>
#include <chrono>
#include <cstring>
#include <optional>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>
#include <utility>

#include "base/file_lock.h"
#include "weights/cache_format.h"
#include "weights/cache_reader.h"
#include "weights/cache_writer.h"

namespace krasis {
namespace {

using std::filesystem::path;

constexpr auto kLockPause = std::chrono::milliseconds(100);  // between looks at a lock

// Which file lay there when it was found damaged: another one may have come since.
struct FileIdentity {
  dev_t device;
  ino_t inode;
  std::int64_t modified_ns;
  friend bool operator==(const FileIdentity&, const FileIdentity&) = default;
};

std::optional<FileIdentity> identity_of(const path& file) {
  struct stat status {};
  if (::stat(file.c_str(), &status) != 0) return std::nullopt;
  return FileIdentity{status.st_dev, status.st_ino,
                      std::int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec};
}

// Why this process cannot write in `folder`, which is made if it can be; empty if it can.
std::string why_not_writable(const path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return error.message();
  return ::access(folder.c_str(), W_OK | X_OK) == 0 ? "" : std::strerror(errno);
}

CacheResult at(const path& file, const std::string& note = "") {
  return {.file = file, .built = false, .folder_note = note, .rebuild_note = ""};
}

class CacheKeeper {
 public:
  CacheKeeper(const ModelDescription& model, TensorSource& source, const CacheFolders& folders,
              const TileOptions& options)
      : model_(model),
        source_(source),
        folders_(folders),
        options_(options),
        plan_(plan_expert_cache(model.spec, options.type)),
        fingerprint_(source.fingerprint()),
        wanted_(cache_header_of(plan_, options.search, fingerprint_)) {
    if (fingerprint_.empty()) {
      throw Error(ErrorCode::InvalidArgument,
                  "expert cache: " + source.description() + " cannot be cached");
    }
    if (plan_.layers.empty()) {
      throw Error(ErrorCode::InvalidArgument,
                  "expert cache: " + source.description() + " has no routed experts to cache");
    }
  }

  CacheResult prepare(const std::optional<FileIdentity>& damaged = std::nullopt) {
    CacheResult result = choose_file();
    if (look_at(result.file, damaged).usable) return result;
    const FileLock lock = wait_for_lock(result.file);
    remove(unfinished_cache(result.file));              // nobody is building while we hold the lock
    const State state = look_at(result.file, damaged);  // somebody may have built it meanwhile
    if (state.usable) return result;
    result.rebuild_note = state.reason;
    if (state.exists) {
      options_.progress.say("expert cache: " + result.file.string() + " " + state.reason +
                            "; building it again");
      remove(result.file);
    }
    check_space(result.file);
    write_expert_cache(model_, source_, result.file, options_);
    result.built = true;
    return result;
  }

  OpenedExperts open() {
    CacheResult cache = prepare();
    std::optional<FileIdentity> identity = identity_of(cache.file);
    try {
      return {read(cache.file), cache};
    } catch (const Error& error) {
      const bool replaced = error.code() == ErrorCode::NotFound;  // by another process, just now
      if (error.code() != ErrorCode::Corrupt && !replaced) throw;
      if (replaced) identity.reset();
      const std::string text = error.what();
      options_.progress.say(text.substr(0, text.rfind("; ")) + "; looking for a better one");
    }
    cache = prepare(identity);
    return {read(cache.file), cache};
  }

 private:
  struct State {
    bool usable = false, exists = false;
    std::string reason;  // if it exists and is not usable
  };

  State look_at(const path& file, const std::optional<FileIdentity>& damaged) const {
    const std::optional<FileIdentity> identity = identity_of(file);
    if (!identity) return {};
    if (identity == damaged) return {.exists = true, .reason = "has a damaged layer"};
    const ParsedCacheHeader parsed = header_of(file);
    if (!parsed.header) {
      if (parsed.problem == CacheProblem::Foreign) {
        throw Error(ErrorCode::Corrupt, "expert cache: " + file.string() + ": " + parsed.reason +
                                            "; move it away, a cache has to be built there");
      }
      return {.exists = true, .reason = parsed.reason};
    }
    const std::string difference = cache_difference(*parsed.header, wanted_);
    return {.usable = difference.empty(), .exists = true, .reason = difference};
  }

  ParsedCacheHeader header_of(const path& file) const {
    try {
      return read_cache_header(*options_.files, file);
    } catch (const Error& error) {
      if (error.code() == ErrorCode::Io) throw;
      return {.header = std::nullopt, .reason = error.what()};  // removed or cut off meanwhile
    }
  }

  // A cache that is there already is good wherever it lies; a new one goes beside the model if that
  // can be written.
  CacheResult choose_file() const {
    const path beside = folders_.model / ".krasis_cache";
    const path name = plan_.file_name();
    if (std::filesystem::exists(beside / name) && look_at(beside / name, std::nullopt).usable &&
        ::access(beside.c_str(), W_OK) != 0) {
      return at(beside / name);
    }
    const std::string problem = why_not_writable(beside);
    if (problem.empty()) return at(beside / name);
    const std::string note = beside.string() + " cannot be written: " + problem;
    if (folders_.fallback.empty())
      throw Error(ErrorCode::Io, "expert cache: " + note + "; make it writable");
    const path other = folders_.fallback / (model_name() + "-" + fingerprint_);
    const std::string other_problem = why_not_writable(other);
    if (!other_problem.empty()) {
      throw Error(ErrorCode::Io, "expert cache: " + note + ", and neither can " + other.string() +
                                     ": " + other_problem + "; make one of them writable");
    }
    return at(other / name, note);
  }

  std::string model_name() const {
    std::error_code ignored;
    const path whole = std::filesystem::weakly_canonical(folders_.model, ignored);
    return whole.filename().empty() ? "model" : whole.filename().string();
  }

  FileLock wait_for_lock(const path& file) const {
    const path lock_path = file.string() + ".lock";
    bool said = false;
    for (;;) {
      if (std::optional<FileLock> lock = FileLock::try_lock(*options_.files, lock_path))
        return std::move(*lock);
      if (!std::exchange(said, true)) {
        options_.progress.say("expert cache: another process is building " + file.string() +
                              "; waiting for it");
      }
      if (options_.cancel != nullptr) options_.cancel->check("expert cache");
      std::this_thread::sleep_for(kLockPause);
    }
  }

  void remove(const path& file) const {
    if (options_.files->unlink(file) != 0 && errno != ENOENT) throw_file_error(file, "remove");
  }

  void check_space(const path& file) const {
    const std::uint64_t free = options_.files->free_bytes(file.parent_path());
    if (free >= plan_.file_bytes) return;
    throw Error(ErrorCode::Io, "expert cache: " + file.string() + " needs " +
                                   std::to_string(plan_.file_bytes) + " bytes, its disk has " +
                                   std::to_string(free) + " free; free some");
  }

  std::unique_ptr<TileArena> read(const path& file) const {
    return read_expert_cache(file, plan_, wanted_, options_);
  }

  const ModelDescription& model_;
  TensorSource& source_;
  const CacheFolders& folders_;
  const TileOptions& options_;
  const ExpertCachePlan plan_;
  const std::string fingerprint_;
  const CacheHeader wanted_;
};

}  // namespace

CacheResult prepare_expert_cache(const ModelDescription& model, TensorSource& source,
                                 const CacheFolders& folders, const TileOptions& options) {
  return CacheKeeper(model, source, folders, options).prepare();
}

OpenedExperts open_expert_cache(const ModelDescription& model, TensorSource& source,
                                const CacheFolders& folders, const TileOptions& options) {
  return CacheKeeper(model, source, folders, options).open();
}

}  // namespace krasis
