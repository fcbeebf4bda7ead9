// links: cpu ops quant tensor base
// Rates of the experts' kernels: for each row of the table, 4 and 8 bits, tokens and threads. Few
// tokens are bound by memory: GB/s of weights, beside a plain read of the same memory by the same
// threads. Many tokens are bound by arithmetic: GOP/s (two operations a weight and token).
// Every measurement is repeated; the best and the median are printed, since other programs may use
// the machine. Where they do all the time, --cpu-time counts the processor time of this process,
// divided by the threads, instead of the clock's.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <ctime>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "cpu/tile_runner.h"
#include "quant/expert_tiles.h"
#include "tensor/host_buffer.h"

namespace {

using namespace krasis;

struct Options {
  std::int64_t hidden = 2048;
  std::int64_t intermediate = 768;
  std::int64_t experts = 128;
  std::int64_t top_k = 8;
  int group = 128;
  double gigabytes = 1.2;  // of experts, at least
  double seconds = 0.4;    // a measurement
  std::vector<int> bits = {4, 8};
  std::vector<int> threads = {1, 2};
  std::vector<std::int64_t> tokens = {1, 2, 4, 8, 16};
  std::vector<std::int64_t> blocks = {32, 128, 512};
  std::vector<std::int64_t> prompts = {512};
  std::string row;
  bool json = false;
  bool cpu_time = false;
};

struct Times {
  double best, median;
};

// Measures pieces of work by one clock.
struct Meter {
  clockid_t clock = CLOCK_MONOTONIC;
  int threads = 1;  // whose times the clock adds up

  double now() const {
    timespec time{};
    clock_gettime(clock, &time);
    return (static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec)) / threads;
  }

  template <class Work>
  Times measure(double seconds, Work&& work) const {
    work();
    std::vector<double> times;
    const double start = now();
    while (times.size() < 5 || now() - start < seconds) {
      const double begin = now();
      work();
      times.push_back(now() - begin);
    }
    std::ranges::sort(times);
    return {times.front(), times[times.size() / 2]};
  }
};

// Layers of random experts, more of them than the caches hold.
class Weights {
 public:
  Weights(const Options& options, TileType type)
      : layout_(type, options.hidden, options.intermediate),
        experts_(options.experts),
        layers_(std::max<std::int64_t>(
            1, static_cast<std::int64_t>(options.gigabytes * 1e9 /
                                         static_cast<double>(layout_.layer_bytes(experts_))) +
                   1)),
        buffer_(static_cast<std::size_t>(layers_) * layout_.layer_bytes(experts_)) {
    std::uint64_t state = 88172645463325252U;
    auto* words = buffer_.as<std::uint64_t>();
    for (std::size_t i = 0; i < buffer_.bytes() / sizeof *words; ++i) {
      state ^= state << 13;
      state ^= state >> 7;
      state ^= state << 17;
      words[i] = state;
    }
    for (std::int64_t e = 0; e < layers_ * experts_; ++e) {
      std::byte* base = buffer_.data() + offset(e / experts_, e % experts_);
      const auto fill = [&](std::size_t at, const TileShape& shape) {
        auto* scales = reinterpret_cast<bf16*>(base + at);
        std::fill_n(scales, shape.scale_bytes() / sizeof(bf16), to_bf16(0.01F));
      };
      fill(layout_.w13_scales, layout_.w13);
      fill(layout_.w2_scales, layout_.w2);
    }
  }

  ExpertMatrices layer(std::int64_t index) const {
    return ExpertMatrices::of(layout_, experts_, buffer_.data() + offset(index, 0));
  }
  std::int64_t layers() const { return layers_; }
  const HostBuffer& buffer() const { return buffer_; }
  double bytes_per_expert() const {
    return static_cast<double>(layout_.w13.tile_bytes() + layout_.w13.scale_bytes() +
                               layout_.w2.tile_bytes() + layout_.w2.scale_bytes());
  }
  double weights_per_expert() const {
    return 3.0 * static_cast<double>(layout_.hidden * layout_.intermediate);
  }

 private:
  std::size_t offset(std::int64_t layer, std::int64_t expert) const {
    return static_cast<std::size_t>(layer) * layout_.layer_bytes(experts_) +
           static_cast<std::size_t>(expert) * layout_.expert_bytes;
  }

  ExpertLayout layout_;
  std::int64_t experts_, layers_;
  HostBuffer buffer_;
};

// Bytes a second of a plain sum over the memory, best of five.
double read_rate(const Meter& meter, ThreadPool& pool, const HostBuffer& buffer) {
  std::vector<std::uint64_t> sums(static_cast<std::size_t>(pool.size()) * 8);
  const auto workers = static_cast<std::size_t>(pool.size());
  const Times times = meter.measure(0, [&] {
    pool.run([&](int worker) {
      const auto index = static_cast<std::size_t>(worker);
      const std::size_t words = buffer.bytes() / sizeof(std::uint64_t);
      const auto* data = buffer.as<const std::uint64_t>();
      std::uint64_t parts[8] = {};
      for (std::size_t i = index * words / workers / 8 * 8;
           i < (index + 1) * words / workers / 8 * 8; i += 8) {
        for (std::size_t n = 0; n < 8; ++n) parts[n] += data[i + n];
      }
      for (const std::uint64_t part : parts) sums[index * 8] += part;
    });
  });
  return static_cast<double>(buffer.bytes()) / times.best;
}

struct Step {
  std::int64_t tokens, top_k;
  std::vector<float> x, out, weights;
  std::vector<std::int32_t> ids;
};

Step make_step(const Options& options, std::int64_t tokens, std::int64_t top_k) {
  Step step;
  step.tokens = tokens;
  step.top_k = top_k;
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  step.x.resize(static_cast<std::size_t>(tokens * options.hidden));
  for (float& value : step.x) value = normal(random);
  step.out.resize(step.x.size());
  step.weights.assign(static_cast<std::size_t>(tokens * top_k), 0.1F);
  step.ids.resize(step.weights.size());
  return step;
}

// Distinct experts; the same for all tokens, or chosen anew for each.
void choose_experts(Step& step, std::int64_t experts, bool same, std::mt19937& random) {
  std::vector<std::int32_t> all(static_cast<std::size_t>(experts));
  for (std::size_t e = 0; e < all.size(); ++e) all[e] = static_cast<std::int32_t>(e);
  for (std::int64_t t = 0; t < step.tokens; ++t) {
    const auto first = static_cast<std::size_t>(t * step.top_k);
    for (std::size_t j = 0; j < static_cast<std::size_t>(step.top_k); ++j) {
      if (t > 0 && same) {
        step.ids[first + j] = step.ids[j];
        continue;
      }
      std::swap(all[j], all[j + random() % (all.size() - j)]);
      step.ids[first + j] = all[j];
    }
  }
}

void run_step(cpu::TileRunner& runner, const Weights& weights, Step& step, std::int64_t layer,
              std::int64_t hidden) {
  runner.experts({.x = Rows(step.x.data(), step.tokens, hidden),
                  .ids = step.ids,
                  .weights = step.weights,
                  .top_k = step.top_k,
                  .matrices = weights.layer(layer),
                  .out = MutableRows(step.out.data(), step.tokens, hidden)});
}

struct Result {
  std::string row;
  std::string what;  // "few": tokens share experts; "block": one expert; "prompt": routed
  int bits, threads;
  std::int64_t tokens;
  double gigabytes, median_gigabytes, read_gigabytes, gigaops, tokens_per_second;
};

void print(const Result& r, bool json) {
  if (json) {
    std::printf(
        "{\"row\":\"%s\",\"what\":\"%s\",\"bits\":%d,\"threads\":%d,\"tokens\":%lld,"
        "\"gb_s\":%.2f,\"median_gb_s\":%.2f,\"read_gb_s\":%.2f,\"gop_s\":%.1f,"
        "\"tokens_s\":%.1f}\n",
        r.row.c_str(), r.what.c_str(), r.bits, r.threads, static_cast<long long>(r.tokens),
        r.gigabytes, r.median_gigabytes, r.read_gigabytes, r.gigaops, r.tokens_per_second);
  } else {
    std::printf("%-11s %-6s %4d %7d %6lld %9.2f %9.2f %9.2f %5.0f%% %9.1f %11.1f\n", r.row.c_str(),
                r.what.c_str(), r.bits, r.threads, static_cast<long long>(r.tokens), r.gigabytes,
                r.median_gigabytes, r.read_gigabytes, 100 * r.gigabytes / r.read_gigabytes,
                r.gigaops, r.tokens_per_second);
  }
  std::fflush(stdout);
}

class Bench {
 public:
  explicit Bench(const Options& options) : options_(options) {}

  void run() {
    if (!options_.json)
      std::printf("%-11s %-6s %4s %7s %6s %9s %9s %9s %6s %9s %11s\n", "row", "what", "bits",
                  "threads", "tokens", "GB/s", "median", "read", "share", "GOP/s", "tokens/s");
    for (const int bits : options_.bits) {
      const Weights weights(options_, {bits, options_.group});
      for (const int threads : options_.threads) {
        ThreadPool pool({.threads = threads});
        meter_ = options_.cpu_time ? Meter{CLOCK_PROCESS_CPUTIME_ID, pool.size()} : Meter{};
        const double read = read_rate(meter_, pool, weights.buffer()) / 1e9;
        for (const cpu::TileKernels& row : cpu::tile_kernels()) {
          if (!row.runs_on(cpu::features())) continue;
          if (!options_.row.empty() && options_.row != row.name) continue;
          run_row(pool, row, weights, bits, read);
        }
      }
    }
  }

 private:
  void run_row(ThreadPool& pool, const cpu::TileKernels& row, const Weights& weights, int bits,
               double read) {
    cpu::TileRunner runner(pool, row);
    const bool slow = row.name == "scalar";
    const auto one = [&](const std::string& what, std::int64_t tokens, std::int64_t top_k) {
      if (slow && tokens > 2) return;
      Step step = make_step(options_, tokens, top_k);
      std::mt19937 random(7);
      std::int64_t layer = 0;
      double spent = 0;
      double distinct = 0;
      const Times times = meter_.measure(options_.seconds, [&] {
        // Choosing takes a few microseconds against hundreds.
        choose_experts(step, options_.experts, what != "prompt", random);
        layer = (layer + 1) % weights.layers();
        run_step(runner, weights, step, layer, options_.hidden);
        ++spent;
        distinct +=
            static_cast<double>(std::set<std::int32_t>(step.ids.begin(), step.ids.end()).size());
      });
      const double bytes = distinct / spent * weights.bytes_per_expert();
      const double ops = 2 * weights.weights_per_expert() * static_cast<double>(tokens * top_k);
      print({std::string(row.name), what, bits, pool.size(), tokens, bytes / times.best / 1e9,
             bytes / times.median / 1e9, read, ops / times.best / 1e9,
             static_cast<double>(tokens) / times.best},
            options_.json);
    };
    for (const std::int64_t tokens : options_.tokens) one("few", tokens, options_.top_k);
    for (const std::int64_t tokens : options_.blocks) one("block", tokens, 1);
    for (const std::int64_t tokens : options_.prompts) one("prompt", tokens, options_.top_k);
  }

  Options options_;
  Meter meter_;
};

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Rates of the experts' kernels");
  app.add_option("--hidden", options.hidden, "hidden size");
  app.add_option("--intermediate", options.intermediate, "intermediate size of an expert");
  app.add_option("--experts", options.experts, "experts in a layer");
  app.add_option("--top-k", options.top_k, "experts for a token");
  app.add_option("--group", options.group, "weights that share a scale");
  app.add_option("--gigabytes", options.gigabytes, "memory of all experts, at least");
  app.add_option("--seconds", options.seconds, "time of one measurement");
  app.add_option("--bits", options.bits, "4, 8")->delimiter(',');
  app.add_option("--threads", options.threads, "numbers of threads, 0: all cores")->delimiter(',');
  app.add_option("--tokens", options.tokens, "tokens that share their experts")->delimiter(',');
  app.add_option("--blocks", options.blocks, "tokens of one expert")->delimiter(',');
  app.add_option("--prompts", options.prompts, "tokens with experts of their own")->delimiter(',');
  app.add_option("--row", options.row, "only this row of the table");
  app.add_flag("--cpu-time", options.cpu_time, "count processor time instead of the clock's");
  app.add_flag("--json", options.json, "a line of JSON for each result");
  CLI11_PARSE(app, argc, argv);
  Bench(options).run();
}
