#include "weights/cache_writer.h"

#include <array>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "base/hash.h"
#include "base/parallel.h"
#include "weights/cache_format.h"
#include "weights/expert_builder.h"

namespace krasis {
namespace {

// A buffer for each expert that is being built, used again for the next.
class BufferPool {
 public:
  HostBuffer take(std::size_t bytes) {
    {
      const std::lock_guard lock(free_mutex_);
      for (HostBuffer& buffer : free_) {
        if (buffer.bytes() < bytes) continue;
        std::swap(buffer, free_.back());
        HostBuffer taken = std::move(free_.back());
        free_.pop_back();
        return taken;
      }
      if (!free_.empty()) free_.pop_back();  // too small for this layer, and those that follow
    }
    return HostBuffer(bytes);
  }
  void give_back(HostBuffer buffer) {
    const std::lock_guard lock(free_mutex_);
    free_.push_back(std::move(buffer));
  }

 private:
  std::mutex free_mutex_;
  std::vector<HostBuffer> free_;  // guarded by free_mutex_
};

}  // namespace

std::filesystem::path unfinished_cache(const std::filesystem::path& path) {
  return path.string() + ".tmp";
}

void write_expert_cache(const ModelDescription& model, TensorSource& source,
                        const std::filesystem::path& path, const TileOptions& options) {
  const ExpertCachePlan plan = plan_expert_cache(model.spec, options.type);
  const ExpertBuilder builder(model, source, plan, options.search);
  const std::vector<ExpertSlot> slots = expert_slots(plan);
  const int threads = options.threads > 0 ? options.threads : usable_processors();
  std::vector<LayerChecksum> checksums(plan.layers.begin(), plan.layers.end());
  BufferPool buffers;
  AtomicFile file(*options.files, path, unfinished_cache(path));
  file.allocate(plan.file_bytes);
  ProgressSum progress(options.progress, plan.file_bytes);
  for_each_in_parallel(static_cast<std::int64_t>(slots.size()), threads, [&](std::int64_t index) {
    if (options.cancel != nullptr) options.cancel->check("expert cache");
    const auto place = static_cast<std::size_t>(index);
    const ExpertSlot& slot = slots[place];
    if (place + static_cast<std::size_t>(threads) < slots.size())
      builder.prefetch(slots[place + static_cast<std::size_t>(threads)]);
    HostBuffer buffer = buffers.take(slot.bytes);
    const std::span<std::byte> bytes(buffer.data(), slot.bytes);
    builder.build(slot, bytes);
    checksums[slot.layer_index].set(slot.expert, bytes);
    file.write(bytes, plan.header_bytes + slot.offset);
    buffers.give_back(std::move(buffer));
    progress.add(slot.bytes);
  });

  CacheHeader header = cache_header_of(plan, options.search, source.fingerprint());
  for (std::size_t i = 0; i < plan.layers.size(); ++i)
    header.layers[i].checksum = checksums[i].value();
  file.write(serialize(header), 0);
  file.commit();
  options.progress.report(plan.file_bytes, plan.file_bytes);
}

}  // namespace krasis
