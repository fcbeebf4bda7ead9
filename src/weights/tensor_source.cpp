#include "weights/tensor_source.h"

#include <sys/mman.h>
#include <unistd.h>

#include "formats/checkpoint.h"

namespace krasis {
namespace {

// Whole pages only: their neighbours may be in use.
void advise_pages(std::span<const std::byte> bytes, int advice) {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto address = reinterpret_cast<std::uintptr_t>(bytes.data());
  const std::uintptr_t first = (address + page - 1) / page * page;
  const std::uintptr_t last = (address + bytes.size()) / page * page;
  if (first >= last) return;
  auto* const start = const_cast<std::byte*>(bytes.data()) + (first - address);
  ::madvise(start, last - first, advice);
}

class CheckpointSource final : public TensorSource {
 public:
  explicit CheckpointSource(const std::filesystem::path& dir) : checkpoint_(dir) {}

  std::optional<TensorView> find(const std::string& name, const Shape& /*expected*/) override {
    return checkpoint_.find(name);
  }
  void will_need(const TensorView& view) override { advise(view, MADV_WILLNEED); }
  void done_with(const TensorView& view) override { advise(view, MADV_DONTNEED); }
  std::string description() const override { return checkpoint_.dir().string(); }
  std::string fingerprint() const override { return checkpoint_.fingerprint(); }

 private:
  void advise(const TensorView& view, int advice) const {
    if (checkpoint_.is_mapped(view)) advise_pages({view.data(), view.bytes()}, advice);
  }

  Checkpoint checkpoint_;
};

}  // namespace

TensorView TensorSource::require(const std::string& name, const Shape& expected) {
  const std::optional<TensorView> tensor = find(name, expected);
  const std::string area = "checkpoint: " + description() + ": ";
  if (!tensor) throw Error(ErrorCode::NotFound, area + "no tensor \"" + name + "\"");
  if (!(tensor->shape() == expected)) {
    throw Error(ErrorCode::Corrupt, area + "\"" + name + "\" is " + tensor->shape().to_string() +
                                        ", but config.json asks for " + expected.to_string());
  }
  return *tensor;
}

std::unique_ptr<TensorSource> open_checkpoint(const std::filesystem::path& model_dir) {
  return std::make_unique<CheckpointSource>(model_dir);
}

}  // namespace krasis
