// links: cuda residency cpu tune ops quant tensor base
// Layers of made-up experts, some in the device's memory, for prompts of several lengths: how the
// layers' experts were divided between device, link and processor, and how long each took, medians
// over the layers. Beside it what the experts that were not resident take at the link's rate alone
// and at the memory's.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <random>
#include <vector>

#include "base/thread_pool.h"
#include "cpu/cpu_ops.h"
#include "cuda/devices.h"
#include "quant/expert_tiles.h"
#include "tensor/host_buffer.h"
#include "tune/expert_rates.h"
#include "tune/memory_rate.h"

namespace {

using namespace krasis;

struct Options {
  std::int64_t hidden = 2048, intermediate = 512, experts = 512, top_k = 10, layers = 8;
  double resident = 0.25;
  std::vector<std::int64_t> tokens = {2, 8, 64, 300, 933, 2000};
  double link_rate = 54.6e9;
  int repeat = 5;
};

class Layers {
 public:
  Layers(const Options& options, ThreadPool& pool)
      : layout_({4, 128}, options.hidden, options.intermediate),
        memory_(static_cast<std::size_t>(options.layers) * layout_.layer_bytes(options.experts)) {
    // 0x3c in every byte is a scale of 0.01 and weights of 12 and 3.
    pool.parallel_for(static_cast<std::int64_t>(memory_.bytes()), std::int64_t{16} << 20,
                      [&](std::int64_t first, std::int64_t last) {
                        std::fill(memory_.data() + first, memory_.data() + last, std::byte{0x3c});
                      });
    for (std::int64_t i = 0; i < options.layers; ++i) {
      all_.push_back(ExpertMatrices::of(
          layout_, options.experts,
          memory_.data() + static_cast<std::size_t>(i) * layout_.layer_bytes(options.experts)));
    }
  }
  const std::vector<ExpertMatrices>& all() const { return all_; }
  double expert_bytes() const { return static_cast<double>(layout_.expert_bytes); }

 private:
  ExpertLayout layout_;
  HostBuffer memory_;
  std::vector<ExpertMatrices> all_;
};

std::vector<std::int32_t> random_ids(const Options& options, std::int64_t tokens, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::int32_t> order(static_cast<std::size_t>(options.experts)), ids;
  for (std::size_t e = 0; e < order.size(); ++e) order[e] = static_cast<std::int32_t>(e);
  for (std::int64_t t = 0; t < tokens; ++t) {
    for (std::size_t j = 0; j < static_cast<std::size_t>(options.top_k); ++j) {
      std::swap(order[j], order[j + random() % (order.size() - j)]);
      ids.push_back(order[j]);
    }
  }
  return ids;
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::ranges::sort(values);
  return values[values.size() / 2];
}

class Bench {
 public:
  Bench(const Options& options, const Layers& layers, const ExpertPlacement& placement,
        Ops& processor)
      : options_(options),
        layers_(layers),
        placement_(placement),
        ops_(cuda::make_cuda_ops({})),
        placed_(cuda::place_experts(*ops_, layers.all(), placement, processor)) {}

  void run(const char* name, std::int64_t tokens) {
    Memory& memory = ops_->memory();
    const auto ids = random_ids(options_, tokens, 1);
    const auto numbers = static_cast<std::size_t>(tokens * options_.hidden);
    const std::vector<float> values(numbers, 0.5F), ones(ids.size(), 0.1F);
    const Buffer x = memory.allocate(numbers * sizeof(float)), out = memory.allocate(x.bytes()),
                 chosen = memory.allocate(ids.size() * sizeof(std::int32_t)),
                 weights = memory.allocate(ids.size() * sizeof(float));
    memory.upload(x.data(), values.data(), x.bytes());
    memory.upload(chosen.data(), ids.data(), chosen.bytes());
    memory.upload(weights.data(), ones.data(), weights.bytes());
    std::vector<double> seconds;
    for (int i = 0; i <= options_.repeat; ++i) {
      const auto start = std::chrono::steady_clock::now();
      ops_->begin_step({}, tokens);
      ops_->begin_pass(tokens, 1);
      for (const ExpertMatrices& layer : placed_) {
        ops_->experts({.x = {x.as<float>(), tokens, options_.hidden},
                       .ids = {chosen.as<std::int32_t>(), ids.size()},
                       .weights = {weights.as<float>(), ids.size()},
                       .top_k = options_.top_k,
                       .matrices = layer,
                       .out = {out.as<float>(), tokens, options_.hidden}});
      }
      ops_->end_pass();
      ops_->synchronize();
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
      if (i > 0) seconds.push_back(took.count());
    }
    print(name, tokens, median(seconds));
  }

 private:
  void print(const char* name, std::int64_t tokens, double seconds) const {
    const auto times = cuda::way_times(*ops_);
    const auto layer = [&](auto member) {
      std::vector<double> values;
      for (const cuda::WayTimes& one : times) values.push_back(static_cast<double>(one.*member));
      return median(values);
    };
    using Times = cuda::WayTimes;
    const double missing = layer(&Times::copied) + layer(&Times::processed);
    const double bytes = missing * layers_.expert_bytes();
    std::printf(
        "%-10s %5lld tokens: layer %7.3f ms, predicted %7.3f, link alone %7.3f | resident %4.0f "
        "until %6.3f | copied %4.0f, %4.0f ahead, from %6.3f to %7.3f | processor %4.0f, begun "
        "after %6.3f, "
        "%7.3f ms | end %7.3f, %6.1f GB/s\n",
        name, static_cast<long long>(tokens), 1e3 * seconds / static_cast<double>(placed_.size()),
        layer(&Times::predicted_ms), 1e3 * bytes / placement_.link_rate, layer(&Times::resident),
        layer(&Times::residents_end_ms), layer(&Times::copied), layer(&Times::ahead),
        layer(&Times::copy_begin_ms), layer(&Times::copy_end_ms), layer(&Times::processed),
        layer(&Times::host_ms), layer(&Times::processor_ms), layer(&Times::end_ms),
        bytes / (1e6 * layer(&Times::end_ms)));
  }

  const Options& options_;
  const Layers& layers_;
  const ExpertPlacement& placement_;
  std::unique_ptr<Ops> ops_;
  std::span<const ExpertMatrices> placed_;
};

void add_options(CLI::App& app, Options& options) {
  app.add_option("--layers", options.layers);
  app.add_option("--experts", options.experts);
  app.add_option("--top-k", options.top_k);
  app.add_option("--hidden", options.hidden);
  app.add_option("--intermediate", options.intermediate);
  app.add_option("--resident", options.resident, "share of the experts");
  app.add_option("--tokens", options.tokens)->delimiter(',');
  app.add_option("--link-rate", options.link_rate, "bytes a second");
  app.add_option("--repeat", options.repeat);
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Prompts' experts by three ways at once");
  add_options(app, options);
  CLI11_PARSE(app, argc, argv);

  ThreadPool pool;
  const Layers layers(options, pool);
  const auto processor = cpu::make_cpu_ops(pool);
  const ExpertRates rates = measure_expert_rates(*processor, layers.all().front());
  ExpertPlacement placement{.resident = static_cast<std::int64_t>(
                                options.resident * static_cast<double>(options.experts) *
                                static_cast<double>(options.layers)),
                            .link_rate = options.link_rate,
                            .processor_rate = rates.bytes,
                            .processor_token_seconds = rates.token_seconds,
                            .memory_rate = measure_read_rate(pool)};
  std::printf("%s: experts %.1f GB/s, %.2f us a token; memory %.1f GB/s; expert of %.2f MB\n",
              std::string(processor->name()).c_str(), 1e-9 * placement.processor_rate,
              1e6 * placement.processor_token_seconds, 1e-9 * placement.memory_rate,
              1e-6 * layers.expert_bytes());
  {
    Bench bench(options, layers, placement, *processor);
    for (const std::int64_t tokens : options.tokens) bench.run("by rates", tokens);
  }
  placement.prompt_threshold = 1 << 30;
  {
    Bench bench(options, layers, placement, *processor);
    for (const std::int64_t tokens : options.tokens) bench.run("processor", tokens);
  }
  placement.mode = ExpertMode::ActiveOnly;
  Bench bench(options, layers, placement, *processor);
  for (const std::int64_t tokens : options.tokens) bench.run("copies", tokens);
  return 0;
}
