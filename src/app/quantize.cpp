// krasis quantize: builds the expert cache and stops.
#include <fmt/format.h>
#include <memory>

#include "app/command.h"
#include "app/model_options.h"
#include "app/progress_bar.h"
#include "base/log.h"
#include "config/home.h"
#include "config/model_location.h"
#include "weights/expert_cache.h"

namespace krasis {
namespace {

struct CacheOptions {
  std::string model;
  int bits = 4;
  int group = 0;
  int threads = 0;
};

int run_quantize(const CacheOptions& options) {
  install_interrupt_handler();
  const auto folder = find_model(options.model);
  const ModelDescription description = read_model_description(folder);
  const auto source = open_checkpoint(folder);
  TileOptions tiles;
  tiles.type = expert_tile_type(description.spec, options.bits, options.group);
  tiles.threads = options.threads;
  tiles.cancel = &interrupt_flag();
  const ExpertCachePlan plan = plan_expert_cache(description.spec, tiles.type);
  if (plan.layers.empty()) {
    fmt::print("{}: no routed experts, nothing to build\n", folder.string());
    return kDone;
  }
  ProgressBar bar("quantizing experts", "bytes");
  tiles.progress = {
      .advance = [&](std::uint64_t done, std::uint64_t total) { bar.update(done, total); },
      .message = [](const std::string& text) { log::info(text); }};
  const CacheResult result = prepare_expert_cache(
      description, *source, {.model = folder, .fallback = krasis_home() / "cache"}, tiles);
  for (const std::string& note : {result.folder_note, result.rebuild_note})
    if (!note.empty()) log::info(note);
  fmt::print("{}: {} ({:.2f} GB)\n", result.file.string(),
             result.built ? "built" : "was there already",
             static_cast<double>(plan.file_bytes) / 1e9);
  return kDone;
}

}  // namespace

void declare_quantize(CLI::App& command, std::function<int()>& run) {
  auto options = std::make_shared<CacheOptions>();
  add_model_option(command, options->model);
  command.add_option("--cpu-expert-bits", options->bits, "bits of an expert weight")
      ->check(CLI::IsMember({4, 8}))
      ->capture_default_str();
  add_group_option(command, options->group);
  add_threads_option(command, options->threads);
  run = [options] { return run_quantize(*options); };
}

}  // namespace krasis
