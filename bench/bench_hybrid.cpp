// links: cuda residency cpu tune quant ops tensor base
// Experts of a decode step shared between a GPU and the processor, nothing else running on either:
// microseconds a layer, the processor's part of them and its bytes a second beside a plain read of
// the same run, and what the mailbox costs with experts so small that nothing else is left.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "../tests/gpu/experts_only.h"
#include "base/thread_pool.h"
#include "cpu/cpu_ops.h"
#include "cuda/devices.h"
#include "quant/expert_tiles.h"
#include "tensor/host_buffer.h"
#include "tune/memory_rate.h"

namespace {

using namespace krasis;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values.empty() ? 0 : values[values.size() / 2];
}

struct Shape {
  const char* name;
  std::int64_t layers, experts, top_k, hidden, intermediate;
};

// Layers of made-up experts in the program's memory.
class Layers {
 public:
  Layers(const Shape& shape, ThreadPool& pool)
      : layout_({.bits = 4, .group = 128}, shape.hidden, shape.intermediate),
        memory_(layout_.layer_bytes(shape.experts) * static_cast<std::size_t>(shape.layers)) {
    // Bytes of which two are a small BF16 and one is two small weights.
    pool.run([&](int worker) {
      const std::size_t share = memory_.bytes() / static_cast<std::size_t>(pool.size()) + 1;
      const std::size_t first = static_cast<std::size_t>(worker) * share;
      std::minstd_rand random(static_cast<unsigned>(worker + 1));
      for (std::size_t i = first; i < std::min(first + share, memory_.bytes()); ++i)
        memory_.data()[i] =
            std::byte{(random() & 64) != 0 ? std::uint8_t{0x3b} : std::uint8_t{0x3a}};
    });
    for (std::int64_t l = 0; l < shape.layers; ++l) {
      layers_.push_back(ExpertMatrices::of(
          layout_, shape.experts,
          memory_.data() + static_cast<std::size_t>(l) * layout_.layer_bytes(shape.experts)));
    }
  }

  std::span<const ExpertMatrices> all() const { return layers_; }
  std::size_t expert_bytes() const { return layout_.expert_bytes; }

 private:
  ExpertLayout layout_;
  HostBuffer memory_;
  std::vector<ExpertMatrices> layers_;
};

struct Result {
  double layer = 0;      // seconds
  double processor = 0;  // of these, in which it computed
  double bytes = 0;      // of weights a layer that it computed
};

// The step's inputs on the device, and the ids that are new for each step.
class Steps {
 public:
  Steps(Ops& ops, std::span<const ExpertMatrices> layers, const Shape& shape, std::int64_t tokens)
      : ops_(ops), layers_(layers), shape_(shape), tokens_(tokens) {
    const auto pairs = static_cast<std::size_t>(tokens * shape.top_k);
    ids_.resize(pairs * layers.size());
    Memory& memory = ops.memory();
    device_ids_ = memory.allocate(ids_.size() * sizeof(std::int32_t));
    weights_ = memory.allocate(pairs * sizeof(float));
    const std::vector<float> weights(pairs, 0.1F);
    memory.upload(weights_.data(), weights.data(), weights_.bytes());
    const auto numbers = static_cast<std::size_t>(tokens * shape.hidden);
    std::vector<float> x(numbers);
    std::normal_distribution<float> normal;
    for (float& value : x) value = normal(random_);
    x_ = memory.allocate(numbers * sizeof(float));
    memory.upload(x_.data(), x.data(), x_.bytes());
    out_ = memory.allocate(numbers * sizeof(float));
  }

  double run() {
    choose();
    ops_.memory().upload(device_ids_.data(), ids_.data(), device_ids_.bytes());
    ops_.synchronize();
    const auto start = Clock::now();
    ops_.begin_step({}, tokens_);
    ops_.run_step({.tokens = tokens_, .state = 1}, [&] {
      const auto pairs = static_cast<std::size_t>(tokens_ * shape_.top_k);
      for (std::size_t l = 0; l < layers_.size(); ++l) {
        ops_.experts({.x = Rows(x_.as<float>(), tokens_, shape_.hidden),
                      .ids = {device_ids_.as<std::int32_t>() + l * pairs, pairs},
                      .weights = {weights_.as<float>(), pairs},
                      .top_k = shape_.top_k,
                      .matrices = layers_[l],
                      .out = MutableRows(out_.as<float>(), tokens_, shape_.hidden)});
      }
    });
    ops_.synchronize();
    return seconds_since(start);
  }

 private:
  void choose() {
    std::vector<std::int32_t> all(static_cast<std::size_t>(shape_.experts));
    for (std::size_t e = 0; e < all.size(); ++e) all[e] = static_cast<std::int32_t>(e);
    const auto top_k = static_cast<std::size_t>(shape_.top_k);
    for (std::size_t first = 0; first < ids_.size(); first += top_k) {
      for (std::size_t j = 0; j < top_k; ++j) {
        std::swap(all[j], all[j + random_() % (all.size() - j)]);
        ids_[first + j] = all[j];
      }
    }
  }

  Ops& ops_;
  std::span<const ExpertMatrices> layers_;
  const Shape& shape_;
  std::int64_t tokens_;
  std::vector<std::int32_t> ids_;
  Buffer device_ids_, weights_, x_, out_;
  std::mt19937 random_{5};
};

Result measure(const Shape& shape, const Layers& layers, Ops& processor, std::int64_t tokens,
               const ExpertPlacement& placement) {
  double computed = 0, bytes = 0;
  test::ExpertsOnly timed(processor, [&](Ops& inner, const Experts& op) {
    const auto start = Clock::now();
    inner.experts(op);
    computed += seconds_since(start);
    std::vector<std::int32_t> ids(op.ids.begin(), op.ids.end());
    std::ranges::sort(ids);
    const auto last = std::unique(ids.begin(), ids.end());
    bytes += static_cast<double>(last - ids.begin() - (ids.front() < 0 ? 1 : 0)) *
             static_cast<double>(layers.expert_bytes());
  });
  const auto ops = cuda::make_cuda_ops({.scratch_bytes = std::size_t{256} << 20});
  const auto placed = cuda::place_experts(*ops, layers.all(), placement, timed);
  Steps steps(*ops, placed, shape, tokens);
  std::vector<double> times, processor_times, processor_bytes;
  constexpr int kWarmUp = 6, kRuns = 60;
  const auto count = static_cast<double>(shape.layers);
  for (int i = 0; i < kWarmUp + kRuns; ++i) {
    computed = bytes = 0;
    const double time = steps.run();
    if (i < kWarmUp) continue;
    times.push_back(time / count);
    processor_times.push_back(computed / count);
    processor_bytes.push_back(bytes / count);
  }
  return {median(times), median(processor_times), median(processor_bytes)};
}

void print(const char* what, std::int64_t tokens, const Result& result, double read_rate) {
  const double rate = result.processor > 0 ? result.bytes / result.processor : 0;
  std::printf("%-34s %3ld token(s): %7.1f us a layer, processor %7.1f us, the rest %5.1f us", what,
              static_cast<long>(tokens), result.layer * 1e6, result.processor * 1e6,
              (result.layer - result.processor) * 1e6);
  if (rate > 0)
    std::printf(", %5.1f MB at %5.1f GB/s (%.0f %% of a read)", result.bytes * 1e-6, rate * 1e-9,
                100 * rate / read_rate);
  std::printf("\n");
  std::fflush(stdout);
}

void measure_shape(const Shape& shape, ThreadPool& pool, double link_rate, double read_rate) {
  const Layers layers(shape, pool);
  const auto processor = cpu::make_cpu_ops(pool);
  const std::int64_t all = shape.layers * shape.experts;
  std::printf("%s, %ld layers\n", shape.name, static_cast<long>(shape.layers));
  double rate = 0;
  for (const std::int64_t tokens : {1, 4}) {
    ExpertPlacement placement{.ring_layers = 1, .adaptive = false};
    const Result none = measure(shape, layers, *processor, tokens, placement);
    print("none resident", tokens, none, read_rate);
    if (rate == 0) rate = none.bytes / none.processor;
    placement.link_rate = link_rate;
    placement.processor_rate = rate;
    print("none resident, a share by link", tokens,
          measure(shape, layers, *processor, tokens, placement), read_rate);
    placement.resident = 3 * all / 10;
    print("30 % resident, a share by link", tokens,
          measure(shape, layers, *processor, tokens, placement), read_rate);
    placement.processor_rate = 1;
    placement.resident = 0;
    print("all by link", tokens, measure(shape, layers, *processor, tokens, placement), read_rate);
    placement.resident = all;
    print("all resident", tokens, measure(shape, layers, *processor, tokens, placement), read_rate);
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("experts shared between a GPU and the processor");
  int threads = 0;
  double link_rate = 50;
  bool small = false;
  app.add_option("--threads", threads);
  app.add_option("--link-rate", link_rate, "GB/s to the GPU")->capture_default_str();
  app.add_flag("--small", small, "only the mailbox");
  CLI11_PARSE(app, argc, argv);
  try {
    ThreadPool pool({.threads = threads});
    const double read_rate = measure_read_rate(pool);
    std::printf("%d threads, plain read %.1f GB/s\n", pool.size(), read_rate * 1e-9);
    measure_shape({"mailbox alone", 48, 16, 4, 128, 32}, pool, link_rate * 1e9, read_rate);
    if (small) return 0;
    measure_shape({"Qwen3-Coder-Next", 8, 512, 10, 2048, 512}, pool, link_rate * 1e9, read_rate);
    measure_shape({"DeepSeek-V2-Lite", 16, 64, 6, 2048, 1408}, pool, link_rate * 1e9, read_rate);
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
