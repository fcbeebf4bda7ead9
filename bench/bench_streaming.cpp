// links: cuda residency model weights cpu formats arch ops quant tensor base
// Prompts of a model whose experts stay in the program's memory: time of a pass over all layers,
// beside the time that its experts' bytes take to cross the link at the rate of large copies from
// pinned memory in the same run, and when each layer was copied and computed. Made-up weights of a
// config's shapes, random token ids.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <map>
#include <numeric>
#include <random>

#include "cpu/cpu_ops.h"
#include "cuda/devices.h"
#include "cuda/runtime.h"
#include "model/model.h"
#include "weights/expert_tensors.h"
#include "weights/placed_experts.h"
#include "weights/resident_experts.h"
#include "weights/tile_experts.h"

namespace {

using namespace krasis;

struct Options {
  std::string config;
  std::vector<std::int64_t> tokens = {2048, 8192, 32768};
  ExpertPlacement placement = {.prompt_threshold = 1};
  cuda::DeviceOptions device;
  std::vector<std::int64_t> part_tokens = {Model::kPartTokens};
  DenseFormat attention = DenseFormat::AsStored;
  std::size_t layers = 0;
  int repeat = 5;
  bool staged = false;
  bool timeline = false;
  bool check = false;
};

double seconds_now() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(now).count();
}

// Bytes a second of copies from pinned memory, the median.
double link_rate() {
  constexpr std::size_t kBytes = std::size_t{1} << 30;
  constexpr int kCopies = 7;
  const cuda::PinnedBuffer from(kBytes);
  const cuda::DeviceBuffer to(kBytes);
  const cuda::Stream stream;
  std::vector<double> rates;
  for (int i = 0; i <= kCopies; ++i) {
    const cuda::Event begin(cuda::Event::Timing::Yes), end(cuda::Event::Timing::Yes);
    begin.record(stream);
    cuda::check(
        cudaMemcpyAsync(to.data(), from.data(), kBytes, cudaMemcpyHostToDevice, stream.get()),
        "copying");
    end.record(stream);
    end.synchronize();
    if (i > 0) rates.push_back(static_cast<double>(kBytes) / end.ms_since(begin) * 1e3);
  }
  std::ranges::sort(rates);
  return rates[rates.size() / 2];
}

std::vector<std::int32_t> random_ids(std::int64_t count, std::int64_t vocab) {
  std::mt19937 random(1);
  std::vector<std::int32_t> ids(static_cast<std::size_t>(count));
  for (auto& id : ids) id = static_cast<std::int32_t>(random() % static_cast<unsigned>(vocab));
  return ids;
}

struct MadeUp {
  ModelDescription description;
  std::unique_ptr<TensorSource> source;
  std::unique_ptr<TileArena> arena;
};

// A model with room for one prompt.
class Prompts {
 public:
  Prompts(const MadeUp& made_up, const ExpertStore& experts, Ops& ops, const Options& options,
          std::int64_t part_tokens)
      : model_(made_up.description, *made_up.source, &experts,
               {.attention = options.attention,
                .shared_expert = DenseFormat::Int8,
                .dense_mlp = DenseFormat::Int8,
                .lm_head = DenseFormat::Int8},
               ops, part_tokens),
        size_{.pages = (std::ranges::max(options.tokens) + 63) / 64},
        state_(made_up.description.spec, size_, ops.memory()),
        pages_(static_cast<std::size_t>(size_.pages)) {
    std::iota(pages_.begin(), pages_.end(), 0);
  }

  // The last token's logits.
  std::vector<float> run(std::int64_t tokens) {
    Batch batch;
    batch.ids = random_ids(tokens, model_.spec().vocab);
    batch.positions.resize(batch.ids.size());
    std::iota(batch.positions.begin(), batch.positions.end(), 0);
    batch.segments = {{.first_row = 0, .rows = tokens, .past = 0, .slot = 0, .pages = pages_}};
    batch.logit_rows = {static_cast<std::int32_t>(tokens - 1)};
    std::vector<float> logits(static_cast<std::size_t>(model_.spec().vocab));
    model_.forward(batch, state_, {logits.data(), 1, model_.spec().vocab});
    return logits;
  }

 private:
  Model model_;
  StateSize size_;
  ModelState state_;
  std::vector<std::int32_t> pages_;
};

void print_timeline(const std::vector<cuda::LayerTimes>& times) {
  std::printf("layer  copied from      to  computed from      to (ms after the pass began)\n");
  for (std::size_t i = 0; i < times.size(); ++i) {
    std::printf("%5zu %12.2f %7.2f %14.2f %7.2f\n", i, times[i].copy_begin_ms, times[i].copy_end_ms,
                times[i].experts_begin_ms, times[i].experts_end_ms);
  }
}

double copy_seconds(const std::vector<cuda::LayerTimes>& times) {
  double ms = 0;
  for (const cuda::LayerTimes& layer : times) ms += layer.copy_end_ms - layer.copy_begin_ms;
  return ms * 1e-3;
}

void measure(const Options& options, Prompts& prompts, const Ops& ops, double bound) {
  std::printf("%8s %10s %22s %10s %8s %12s\n", "tokens", "ms", "(least to most)", "tok/s", "share",
              "copying ms");
  for (const std::int64_t tokens : options.tokens) {
    std::vector<double> seconds;
    prompts.run(tokens);
    for (int i = 0; i < options.repeat; ++i) {
      const double begin = seconds_now();
      prompts.run(tokens);
      seconds.push_back(seconds_now() - begin);
    }
    std::ranges::sort(seconds);
    const double median = seconds[seconds.size() / 2];
    const auto times = cuda::pass_times(ops);
    std::printf("%8lld %10.1f     (%7.1f to %7.1f) %10.0f %7.1f%% %12.1f\n",
                static_cast<long long>(tokens), median * 1e3, seconds.front() * 1e3,
                seconds.back() * 1e3, static_cast<double>(tokens) / median, 100 * bound / median,
                copy_seconds(times) * 1e3);
    if (options.timeline) print_timeline(times);
    std::fflush(stdout);
  }
}

// Of experts that are not resident, and how many there are in all.
double streamed_bytes(std::span<const ExpertMatrices> layers, const Options& options) {
  double bytes = 0, experts = 0;
  for (const ExpertMatrices& layer : layers) {
    bytes += static_cast<double>(layer.experts) * static_cast<double>(layer.tiled->expert_bytes);
    experts += static_cast<double>(layer.experts);
  }
  return bytes * std::max(0.0, 1 - static_cast<double>(options.placement.resident) / experts);
}

// The same prompts with all experts in the device's memory.
bool check_against_resident(const Options& options, const MadeUp& made_up, Prompts& placed,
                            std::int64_t part_tokens) {
  cuda::DeviceOptions whole = options.device;
  whole.vram_limit_bytes = 0;
  const auto ops = cuda::make_cuda_ops(whole);
  const auto resident =
      make_resident_experts(made_up.description.spec, *made_up.arena, ops->memory());
  Prompts prompts(made_up, *resident, *ops, options, part_tokens);
  bool same = true;
  for (const std::int64_t tokens : options.tokens) {
    const auto expected = prompts.run(tokens);
    const double begin = seconds_now();
    prompts.run(tokens);
    const double seconds = seconds_now() - begin;
    for (int i = 0; i < options.repeat; ++i) same = placed.run(tokens) == expected && same;
    std::printf("%lld tokens: %.1f ms with all experts resident; logits %s\n",
                static_cast<long long>(tokens), seconds * 1e3,
                same ? "equal to the bit" : "DIFFER");
  }
  return same;
}

MadeUp make_up(const Options& options) {
  MadeUp made_up;
  made_up.description = read_model_description(options.config);
  ModelSpec& spec = made_up.description.spec;
  if (options.layers > 0 && options.layers < spec.layers.size()) spec.layers.resize(options.layers);
  made_up.source = make_dummy_source();
  TileOptions tiles;
  tiles.type = expert_tile_type(spec, 4);
  const double begin = seconds_now();
  made_up.arena = make_dummy_tile_experts(spec, tiles);
  std::printf("%.2f GB of experts made up in %.1f s\n",
              static_cast<double>(made_up.arena->bytes()) * 1e-9, seconds_now() - begin);
  return made_up;
}

int run(Options options) {
  options.device.pin_experts = !options.staged;
  // One size in both models of a check, so that their kernels get the same shares of a prompt.
  if (options.device.scratch_bytes == 0) options.device.scratch_bytes = std::size_t{1} << 30;
  const double link = link_rate();
  const MadeUp made_up = make_up(options);
  ThreadPool pool;
  const auto processor = cpu::make_cpu_ops(pool);
  const auto ops = cuda::make_cuda_ops(options.device);
  const auto layers = sparse_expert_layers(made_up.description.spec, *made_up.arena);
  const double begin = seconds_now();
  const auto placed = cuda::place_experts(*ops, layers, options.placement, *processor);
  std::printf("placed in %.2f s\n", seconds_now() - begin);
  const auto experts = make_placed_experts(made_up.description.spec, placed);
  const double bytes = streamed_bytes(layers, options);
  std::printf("%.2f GB streamed a pass, %.1f ms at %.1f GB/s\n", bytes * 1e-9, bytes / link * 1e3,
              link * 1e-9);
  bool same = true;
  for (const std::int64_t part_tokens : options.part_tokens) {
    std::printf("parts of %lld tokens\n", static_cast<long long>(part_tokens));
    Prompts prompts(made_up, *experts, *ops, options, part_tokens);
    measure(options, prompts, *ops, bytes / link);
    if (options.check)
      same = check_against_resident(options, made_up, prompts, part_tokens) && same;
  }
  return same ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("prompts through experts that stay in the program's memory");
  const std::map<std::string, ExpertMode> modes = {{"auto", ExpertMode::Auto},
                                                   {"grouped", ExpertMode::Grouped},
                                                   {"chunked", ExpertMode::Chunked}};
  app.add_option("config", options.config, "folder with a config.json")->required();
  app.add_option("--tokens", options.tokens, "lengths of prompts")->delimiter(',');
  app.add_option("--mode", options.placement.mode)->transform(CLI::CheckedTransformer(modes));
  app.add_option("--resident", options.placement.resident, "experts in the device's memory");
  app.add_option("--ring", options.placement.ring_layers, "layers that the ring holds");
  app.add_option("--group", options.placement.group_layers, "layers of a group");
  app.add_option("--layers", options.layers, "only the first ones");
  app.add_option("--part-tokens", options.part_tokens, "tokens that go through a layer at a time")
      ->delimiter(',');
  app.add_option("--vram", options.device.vram_limit_bytes, "limit, such as 16GiB")
      ->transform(CLI::AsSizeValue(false));
  app.add_option("--scratch", options.device.scratch_bytes)->transform(CLI::AsSizeValue(false));
  app.add_option("--repeat", options.repeat);
  app.add_flag_callback(
      "--int8-attention", [&] { options.attention = DenseFormat::Int8; },
      "attention in 8 bits, as the rest");
  app.add_flag("--staged", options.staged, "as where memory cannot be pinned");
  app.add_flag("--timeline", options.timeline, "print when each layer was copied and computed");
  app.add_flag("--check", options.check, "compare with all experts in the device's memory");
  CLI11_PARSE(app, argc, argv);
  try {
    return run(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
