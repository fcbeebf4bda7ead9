// links: cuda residency model weights cpu tune formats arch ops quant tensor base
// Tokens of one sequence, one a step, of a model whose experts stay in the program's memory: time
// of a step, and what the processor's experts take of it. Made-up weights of a config's shapes;
// every step is given a random token.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <numeric>
#include <random>

#include "../tests/gpu/experts_only.h"
#include "base/thread_pool.h"
#include "cpu/cpu_ops.h"
#include "cuda/devices.h"
#include "model/model.h"
#include "tune/memory_rate.h"
#include "weights/expert_tensors.h"
#include "weights/placed_experts.h"
#include "weights/tile_experts.h"

namespace {

using namespace krasis;
using Clock = std::chrono::steady_clock;

struct Options {
  std::string config;
  std::vector<std::int64_t> resident = {0};  // of each run
  double link = 50;                          // GB/s; 0: the link takes no share
  double processor = 0;                      // GB/s; 0: as in a first run without the link
  bool int8 = false;                         // attention too
  int steps = 300;
  int threads = 0;
  cuda::DeviceOptions device;
};

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// What the processor did in a step.
struct Work {
  double seconds = 0, bytes = 0;
};

// Passes experts on and adds up.
test::ExpertsOnly timed(Ops& processor, Work& work) {
  return {processor, [&work](Ops& inner, const Experts& op) {
            const auto start = Clock::now();
            inner.experts(op);
            work.seconds += seconds_since(start);
            const auto count = std::ranges::count_if(op.ids, [](auto id) { return id >= 0; });
            work.bytes +=
                static_cast<double>(count) * static_cast<double>(op.matrices.tiled->expert_bytes);
          }};
}

class Decode {
 public:
  Decode(const Options& options, const ModelDescription& description, TensorSource& source,
         const ExpertStore& arena, Ops& processor, const ExpertPlacement& placement)
      : options_(options),
        processor_(timed(processor, work_)),
        ops_(cuda::make_cuda_ops(options.device)),
        experts_(make_placed_experts(
            description.spec,
            cuda::place_experts(*ops_, sparse_expert_layers(description.spec, arena), placement,
                                processor_))),
        model_(description, source, experts_.get(),
               {.attention = options.int8 ? DenseFormat::Int8 : DenseFormat::AsStored,
                .shared_expert = DenseFormat::Int8,
                .dense_mlp = DenseFormat::Int8,
                .lm_head = DenseFormat::Int8},
               *ops_),
        pages_((static_cast<std::size_t>(options.steps) + kWarmUp + 63) / 64),
        state_(description.spec, {.pages = std::ssize(pages_)}, ops_->memory()) {
    std::iota(pages_.begin(), pages_.end(), 0);
  }

  // Bytes a second of the processor's experts.
  double run(const char* what, double sparse_layers, double read_rate) {
    std::vector<double> seconds, processor, bytes;
    cuda::DecodeTimes before{};
    for (int i = 0; i < options_.steps + kWarmUp; ++i) {
      work_ = {};
      if (i == kWarmUp + options_.steps / 2) before = cuda::decode_times(*ops_);
      const auto start = Clock::now();
      step(i);
      if (i < kWarmUp) continue;
      seconds.push_back(seconds_since(start));
      processor.push_back(work_.seconds);
      bytes.push_back(work_.bytes);
    }
    // The second half: residents may have changed in the first.
    for (auto* values : {&seconds, &processor, &bytes}) {
      values->erase(values->begin(), values->begin() + std::ssize(*values) / 2);
      std::ranges::sort(*values);
    }
    const std::size_t middle = seconds.size() / 2;
    const double rate = processor[middle] > 0 ? bytes[middle] / processor[middle] : 0;
    std::printf(
        "%-44s %6.1f tok/s (%.1f to %.1f): %6.1f us a layer, processor %6.1f us of these for %5.2f "
        "MB, %5.1f GB/s (%.0f %% of a read), the rest %5.1f us\n",
        what, 1 / seconds[middle], 1 / seconds.back(), 1 / seconds.front(),
        seconds[middle] / sparse_layers * 1e6, processor[middle] / sparse_layers * 1e6,
        bytes[middle] / sparse_layers * 1e-6, rate * 1e-9, 100 * rate / read_rate,
        (seconds[middle] - processor[middle]) / sparse_layers * 1e6);
    print_layer(before, cuda::decode_times(*ops_));
    std::fflush(stdout);
    return rate;
  }

  // Means over the second half's layers that asked the processor.
  static void print_layer(const cuda::DecodeTimes& from, const cuda::DecodeTimes& to) {
    const auto layers = static_cast<double>(to.layers - from.layers);
    if (layers == 0) return;
    const auto mean = [&](double a, double b) { return (b - a) / layers * 1e6; };
    const double waiting = mean(from.waiting, to.waiting);
    const double processor = mean(from.processor, to.processor);
    std::printf(
        "    a layer that asks: mixer, norms, router %.1f us, asking %.1f, there and back %.1f, "
        "the processor %.1f, adding %.1f\n",
        mean(from.between, to.between), mean(from.asking, to.asking), waiting - processor,
        processor, mean(from.adding, to.adding));
  }

 private:
  static constexpr int kWarmUp = 40;

  void step(std::int64_t past) {
    Batch batch;
    batch.ids = {static_cast<std::int32_t>(random_() % static_cast<unsigned>(model_.spec().vocab))};
    batch.positions = {static_cast<std::int32_t>(past)};
    batch.segments = {{.first_row = 0, .rows = 1, .past = past, .slot = 0, .pages = pages_}};
    batch.logit_rows = {0};
    std::int32_t best = 0;
    float value = 0;
    model_.forward_best(batch, state_, {.count = 1, .ids = {&best, 1}, .values = {&value, 1}});
  }

  const Options& options_;
  Work work_;
  test::ExpertsOnly processor_;
  std::unique_ptr<Ops> ops_;
  std::unique_ptr<ExpertStore> experts_;
  Model model_;
  std::vector<std::int32_t> pages_;
  ModelState state_;
  std::mt19937 random_{1};
};

void run(const Options& options) {
  const ModelDescription description = read_model_description(options.config);
  const auto source = make_dummy_source();
  TileOptions tiles;
  tiles.type = expert_tile_type(description.spec, 4);
  const auto arena = make_dummy_tile_experts(description.spec, tiles);
  ThreadPool pool({.threads = options.threads});
  const auto processor = cpu::make_cpu_ops(pool);
  const double read_rate = measure_read_rate(pool);
  const auto layers = static_cast<double>(sparse_expert_layers(description.spec, *arena).size());
  std::printf("%s: %.1f GB of experts, %d threads, plain read %.1f GB/s\n", options.config.c_str(),
              static_cast<double>(arena->bytes()) * 1e-9, pool.size(), read_rate * 1e-9);
  const auto measure = [&](const std::string& what, const ExpertPlacement& placement) {
    Decode decode(options, description, *source, *arena, *processor, placement);
    return decode.run(what.c_str(), layers, read_rate);
  };
  ExpertPlacement placement{.ring_layers = 1, .prompt_threshold = 1};
  placement.processor_rate = options.processor * 1e9;
  if (options.processor == 0) placement.processor_rate = measure("none resident", placement);
  placement.link_rate = options.link * 1e9;
  for (const std::int64_t resident : options.resident) {
    placement.resident = resident;
    placement.adaptive = false;
    measure(std::to_string(resident) + " resident, a share by link", placement);
    placement.adaptive = true;
    if (resident > 0) measure(std::to_string(resident) + " that follow use", placement);
  }
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("tokens of a model whose experts stay in the program's memory");
  app.add_option("config", options.config, "folder with a config.json")->required();
  app.add_option("--resident", options.resident, "experts in the device's memory")->delimiter(',');
  app.add_option("--link", options.link, "GB/s to the GPU")->capture_default_str();
  app.add_option("--processor", options.processor, "GB/s of experts on the processor");
  app.add_flag("--int8", options.int8, "attention in INT8");
  app.add_option("--steps", options.steps);
  app.add_option("--threads", options.threads);
  app.add_option("--vram", options.device.vram_limit_bytes, "limit, such as 16GiB")
      ->transform(CLI::AsSizeValue(false));
  CLI11_PARSE(app, argc, argv);
  try {
    run(options);
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
