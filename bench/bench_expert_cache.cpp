// links: weights
// How fast an expert cache is built from a BF16 checkpoint and read again:
//   bench_expert_cache [FOLDER] [EXPERTS]
// writes a checkpoint of EXPERTS (128) experts of 3 x 2048 x 768 weights into FOLDER (the temporary
// folder), builds INT4 and INT8 caches, reads them, and reads the same file with one thread and
// nothing else for comparison. Everything is removed at the end.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <string>
#include <unistd.h>
#include <vector>

#include "base/file_system.h"
#include "formats/safetensors.h"
#include "weights/cache_reader.h"
#include "weights/cache_writer.h"

namespace {

using namespace krasis;
using std::filesystem::path;

constexpr std::int64_t kHidden = 2048, kIntermediate = 768;

double seconds_of(const auto& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

const Architecture& architecture() {
  static constexpr std::array<TensorRule, 3> kRules{
      TensorRule{Role::ExpertGate, "{L}.{E}.gate.weight"},
      TensorRule{Role::ExpertUp, "{L}.{E}.up.weight"},
      TensorRule{Role::ExpertDown, "{L}.{E}.down.weight"}};
  static constexpr Architecture kArchitecture{{}, nullptr, kRules, ""};
  return kArchitecture;
}

ModelDescription description_of(std::int64_t experts) {
  ModelDescription model{&architecture(), {}};
  model.spec.hidden = kHidden;
  SparseFfn sparse;
  sparse.intermediate = kIntermediate;
  sparse.routing.experts = experts;
  model.spec.layers = {{GroupedQueryAttention{}, sparse}};
  return model;
}

void write_checkpoint(const path& folder, std::int64_t experts) {
  const auto dummy = make_dummy_source();
  std::vector<NamedTensor> tensors;
  for (std::int64_t expert = 0; expert < experts; ++expert) {
    for (const Role role : {Role::ExpertGate, Role::ExpertUp, Role::ExpertDown}) {
      const Shape shape =
          role == Role::ExpertDown ? Shape{kHidden, kIntermediate} : Shape{kIntermediate, kHidden};
      const std::string name = tensor_name(architecture(), role, 0, expert);
      tensors.push_back({name, dummy->require(name, shape)});
    }
  }
  write_safetensors(folder / "model.safetensors", tensors);
}

// What `dd iflag=direct bs=8M` does.
double plain_read_seconds(const path& file) {
  FileSystem& files = FileSystem::real();
  const FileDescriptor fd(files.open(file, O_RDONLY | O_DIRECT, 0));
  HostBuffer buffer(std::size_t{8} << 20);
  return seconds_of([&] {
    std::uint64_t offset = 0;
    for (;;) {
      const ssize_t got = files.pread(fd.get(), {buffer.data(), buffer.bytes()}, offset);
      if (got <= 0) return;
      offset += static_cast<std::uint64_t>(got);
    }
  });
}

void measure(const path& folder, const ModelDescription& model, TileType type) {
  TileOptions options;
  options.type = type;
  const ExpertCachePlan plan = plan_expert_cache(model.spec, type);
  const path file = folder / plan.file_name();
  const double weights = static_cast<double>(plan.layers[0].experts * 3 * kHidden * kIntermediate);
  const auto source = open_checkpoint(folder);
  const double build = seconds_of([&] { write_expert_cache(model, *source, file, options); });
  const CacheHeader wanted = cache_header_of(plan, options.search, source->fingerprint());
  const double read = seconds_of([&] { read_expert_cache(file, plan, wanted, options); });
  const double plain = plain_read_seconds(file);
  const auto bytes = static_cast<double>(plan.file_bytes);
  fmt::print(
      "{}: built at {:.0f} MB/s of BF16, read and checked at {:.2f} GB/s, plain read {:.2f} GB/s\n",
      plan.file_name(), 2 * weights / build / 1e6, bytes / read / 1e9, bytes / plain / 1e9);
}

}  // namespace

int main(int argc, char** argv) {
  const path root = argc > 1 ? path(argv[1]) : std::filesystem::temp_directory_path();
  const std::int64_t experts = argc > 2 ? std::atoll(argv[2]) : 128;
  const path folder = root / ("krasis-bench-" + std::to_string(::getpid()));
  int result = 0;
  try {
    std::filesystem::create_directories(folder);
    write_checkpoint(folder, experts);
    const ModelDescription model = description_of(experts);
    for (const TileType type : {TileType{4, 128}, TileType{4, 32}, TileType{8, 128}})
      measure(folder, model, type);
    TileOptions options;
    options.type = {4, 128};
    std::size_t bytes = 0;
    const double fill =
        seconds_of([&] { bytes = make_dummy_tile_experts(model.spec, options)->bytes(); });
    fmt::print("made-up tiles at {:.2f} GB/s\n", static_cast<double>(bytes) / fill / 1e9);
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    result = 1;
  }
  std::filesystem::remove_all(folder);
  return result;
}
