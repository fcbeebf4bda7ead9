// links: cpu ops quant tensor base
// Rates of the CPU's operations outside the tiles, for each row of the table of vector kernels.
// What is bound by memory is printed in GB/s beside a plain read of more memory than the caches
// hold, what is bound by arithmetic in GFLOP/s beside products that stay in the first cache.
// Each figure is the best of several runs. Where other programs use the machine all the time,
// --cpu-time counts the processor time of this process, divided by the threads, instead of the
// clock's.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <ctime>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "cpu/cpu_ops.h"
#include "cpu/features.h"
#include "cpu/tile_table.h"
#include "cpu/vector_kernels.h"
#include "tensor/host_buffer.h"

namespace {

using namespace krasis;

struct Options {
  int threads = 2;
  double seconds = 0.5;  // a measurement
  bool cpu_time = false;
  std::string row;
  std::string only;
};

class Bench {
 public:
  explicit Bench(const Options& options)
      : options_(options), pool_({.threads = options.threads, .pin = false}) {}

  void use(const cpu::VectorKernels& kernels) {
    kernels_ = &kernels;
    ops_ = cpu::make_cpu_ops(pool_, kernels, cpu::best_tile_kernels());
    std::printf("%s\n", std::string(ops_->name()).c_str());
  }
  Ops& ops() { return *ops_; }
  ThreadPool& pool() { return pool_; }
  const cpu::VectorKernels& kernels() const { return *kernels_; }

  // Seconds of the fastest run.
  double best(const std::function<void()>& work) {
    work();
    double fastest = 1e9;
    double total = 0;
    for (int run = 0; run < 3 || total < options_.seconds; ++run) {
      const double start = now();
      work();
      const double taken = now() - start;
      fastest = std::min(fastest, taken);
      total += taken;
    }
    return fastest;
  }
  void bytes(const std::string& name, double count, const std::function<void()>& work) {
    if (name.find(options_.only) == std::string::npos) return;
    const double seconds = best(work);
    std::printf("  %-52s %9.1f us %8.1f GB/s\n", name.c_str(), seconds * 1e6,
                count / seconds * 1e-9);
  }
  void flops(const std::string& name, double count, const std::function<void()>& work) {
    if (name.find(options_.only) == std::string::npos) return;
    const double seconds = best(work);
    std::printf("  %-52s %9.1f us %8.1f GFLOP/s\n", name.c_str(), seconds * 1e6,
                count / seconds * 1e-9);
  }

 private:
  double now() const {
    timespec time{};
    clock_gettime(options_.cpu_time ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &time);
    const double seconds =
        static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
    return options_.cpu_time ? seconds / options_.threads : seconds;
  }

  Options options_;
  ThreadPool pool_;
  const cpu::VectorKernels* kernels_ = nullptr;
  std::unique_ptr<Ops> ops_;
};

// Memory of small random numbers, each of two BF16 or one F32.
class Numbers {
 public:
  explicit Numbers(std::int64_t floats)
      : buffer_(static_cast<std::size_t>(floats) * sizeof(float)) {
    std::uint32_t state = 1;
    for (std::int64_t i = 0; i < floats; ++i) {
      state = state * 1664525U + 1013904223U;
      // Both halves are BF16 between 1/4 and 1/2, of either sign.
      buffer_.as<std::uint32_t>()[i] = 0x3e803e80U | (state & 0x807f807fU);
    }
  }
  float* data() const { return buffer_.as<float>(); }
  std::byte* bytes() const { return buffer_.data(); }

 private:
  HostBuffer buffer_;
};

void bench_bounds(Bench& bench) {
  const Numbers memory(std::int64_t{1} << 27);
  const std::int64_t words = std::int64_t{1} << 26;
  const auto* first = reinterpret_cast<const std::uint64_t*>(memory.bytes());
  std::vector<std::uint64_t> sums(64);
  bench.bytes("bound: plain read of 512 MiB", static_cast<double>(words) * 8, [&] {
    bench.pool().run([&](int worker) {
      const std::int64_t size = bench.pool().size();
      sums[static_cast<std::size_t>(worker) % sums.size()] = std::accumulate(
          first + worker * words / size, first + (worker + 1) * words / size, std::uint64_t{0});
    });
  });
  const float* x[4] = {memory.data(), memory.data() + 1024, memory.data() + 2048,
                       memory.data() + 3072};
  std::vector<float> results(4 * 15);
  float* out[4] = {&results[0], &results[15], &results[30], &results[45]};
  const cpu::DotProducts job{.x = x,
                             .rows = 4,
                             .element = cpu::Element::F32,
                             .weights = memory.data() + 4096,
                             .weight_stride = 128,
                             .outputs = 15,
                             .columns = 1024,
                             .bias = nullptr,
                             .out = out};
  bench.flops("bound: products in the first cache, one thread", 1000.0 * 2 * 4 * 15 * 1024, [&] {
    for (int i = 0; i < 1000; ++i) bench.kernels().dot_products(job);
  });
}

void bench_linear(Bench& bench) {
  constexpr std::int64_t kColumns = 2048, kOutputs = 4096, kMatrices = 20;
  const Numbers weights(kColumns * kOutputs * kMatrices / 2);
  const Numbers x(512 * kColumns), out(512 * kOutputs);
  for (const std::int64_t tokens : {1, 2, 4, 8, 32, 512}) {
    std::int64_t matrix = 0;
    const auto work = [&] {
      const std::int64_t at = matrix++ % kMatrices * kColumns * kOutputs * 2;
      bench.ops().linear({.x = {x.data(), tokens, kColumns},
                          .weight = {.format = Matrix::Format::BF16,
                                     .rows = kOutputs,
                                     .columns = kColumns,
                                     .data = weights.bytes() + at,
                                     .tiles = std::nullopt},
                          .bias = {},
                          .out = {out.data(), tokens, kOutputs}});
    };
    const std::string name = "linear BF16 [4096, 2048], " + std::to_string(tokens) + " tokens";
    if (tokens <= 4) bench.bytes(name, kColumns * kOutputs * 2, work);
    bench.flops(name, static_cast<double>(2 * tokens * kColumns * kOutputs), work);
  }
}

struct AttentionShape {
  const char* name;
  std::int64_t heads, kv_heads, key_dim, value_dim;
  bool latent;
};

void bench_attention(Bench& bench, const AttentionShape& shape, std::int64_t context,
                     std::int64_t tokens) {
  constexpr std::int64_t kPageTokens = 64;
  const std::int64_t pages = context / kPageTokens;
  // Several layers, so that decoding reads from memory.
  const std::int64_t token_numbers =
      shape.kv_heads * (shape.key_dim + (shape.latent ? 0 : shape.value_dim));
  const std::int64_t layers =
      tokens > 1 ? 1 : std::max<std::int64_t>(1, (200 << 20) / (context * token_numbers * 2));
  const Numbers cache(layers * context * token_numbers / 2);
  const Numbers queries(tokens * shape.heads * shape.key_dim);
  const Numbers out(tokens * shape.heads * shape.value_dim);
  std::vector<std::int32_t> table(static_cast<std::size_t>(pages));
  std::iota(table.begin(), table.end(), 0);
  const std::vector<Segment> segments = {
      {.first_row = 0, .rows = tokens, .past = context - tokens, .slot = 0, .pages = table}};
  std::int64_t layer = 0;
  const auto work = [&] {
    std::byte* keys = cache.bytes() + layer++ % layers * context * token_numbers * 2;
    bench.ops().attention(
        {.queries = {queries.data(), tokens * shape.heads, shape.key_dim},
         .kv = {.keys = keys,
                .values =
                    shape.latent ? nullptr : keys + context * shape.kv_heads * shape.key_dim * 2,
                .dtype = DType::BF16,
                .pages = pages,
                .page_tokens = kPageTokens,
                .kv_heads = shape.kv_heads,
                .key_dim = shape.key_dim,
                .value_dim = shape.value_dim},
         .segments = segments,
         .heads = shape.heads,
         .scale = 0.05F,
         .out = {out.data(), tokens * shape.heads, shape.value_dim}});
  };
  const std::string name = std::string("attention ") + shape.name + ", " + std::to_string(tokens) +
                           " of " + std::to_string(context) + " tokens";
  if (tokens == 1) bench.bytes(name, static_cast<double>(context * token_numbers * 2), work);
  const double pairs = static_cast<double>(tokens) *
                       (static_cast<double>(context) - static_cast<double>(tokens - 1) / 2);
  bench.flops(
      name, 2 * pairs * static_cast<double>(shape.heads * (shape.key_dim + shape.value_dim)), work);
}

void bench_delta_net(Bench& bench, std::int64_t tokens) {
  constexpr std::int64_t kKeyHeads = 16, kValueHeads = 32, kDim = 128, kSlots = 64;
  constexpr std::int64_t kState = kValueHeads * kDim * kDim;
  const Numbers state(kSlots * kState), q(tokens * kKeyHeads * kDim), k(tokens * kKeyHeads * kDim),
      v(tokens * kValueHeads * kDim), out(tokens * kValueHeads * kDim);
  const std::vector<float> decay(static_cast<std::size_t>(tokens * kValueHeads), -0.1F);
  const std::vector<float> beta(static_cast<std::size_t>(tokens * kValueHeads), 0.5F);
  std::int64_t slot = 0;
  const auto work = [&] {
    const std::vector<Segment> segments = {
        {.first_row = 0, .rows = tokens, .past = 1, .slot = slot++ % kSlots, .pages = {}}};
    bench.ops().delta_net({.q = {q.data(), tokens, kKeyHeads * kDim},
                           .k = {k.data(), tokens, kKeyHeads * kDim},
                           .v = {v.data(), tokens, kValueHeads * kDim},
                           .log_decay = {decay.data(), tokens, kValueHeads},
                           .beta = {beta.data(), tokens, kValueHeads},
                           .key_heads = kKeyHeads,
                           .value_heads = kValueHeads,
                           .key_dim = kDim,
                           .value_dim = kDim,
                           .state = state.data(),
                           .slots = kSlots,
                           .segments = segments,
                           .out = {out.data(), tokens, kValueHeads * kDim}});
  };
  const std::string name = "delta_net 32 heads [128, 128], " + std::to_string(tokens) + " tokens";
  if (tokens == 1) bench.bytes(name + " (read and write)", kState * 8.0, work);
  bench.flops(name, static_cast<double>(tokens) * kState * 7, work);
}

// What a decode step has beside the large matrices.
void bench_small(Bench& bench) {
  constexpr std::int64_t kHidden = 2048, kChannels = 8192, kExperts = 512;
  const Numbers x(kChannels), out(kChannels), weight(kChannels * 4), state(kChannels * 3);
  const std::vector<Segment> segments = {
      {.first_row = 0, .rows = 1, .past = 1, .slot = 0, .pages = {}}};
  bench.bytes("rms_norm [1, 2048]", kHidden * 12, [&] {
    bench.ops().rms_norm({.x = {x.data(), 1, kHidden},
                          .weight = {weight.data(), kHidden},
                          .eps = 1e-6F,
                          .out = {out.data(), 1, kHidden}});
  });
  bench.bytes("causal_conv [1, 8192]", kChannels * 4 * 12, [&] {
    bench.ops().causal_conv({.x = {x.data(), 1, kChannels},
                             .weight = {weight.data(), kChannels * 4},
                             .width = 4,
                             .state = state.data(),
                             .slots = 1,
                             .segments = segments,
                             .out = {out.data(), 1, kChannels}});
  });
  std::vector<std::int32_t> ids(10);
  std::vector<float> weights(10);
  bench.bytes("route top 10 of 512", kExperts * 4, [&] {
    bench.ops().route({.logits = {x.data(), 1, kExperts},
                       .bias = {},
                       .routing = {.experts = kExperts, .top_k = 10},
                       .ids = ids,
                       .weights = weights});
  });
}

void bench_row(Bench& bench, const cpu::VectorKernels& kernels) {
  bench.use(kernels);
  bench_bounds(bench);
  bench_linear(bench);
  const AttentionShape grouped{"16/2 heads of 256", 16, 2, 256, 256, false};
  const AttentionShape latent{"latent 64 heads", 64, 1, 576, 512, true};
  bench_attention(bench, grouped, 4096, 1);
  bench_attention(bench, grouped, 32768, 1);
  bench_attention(bench, grouped, 2048, 2048);
  bench_attention(bench, latent, 4096, 1);
  bench_attention(bench, latent, 1024, 256);
  bench_delta_net(bench, 1);
  bench_delta_net(bench, 512);
  bench_small(bench);
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app{"Rates of the CPU's operations"};
  app.add_option("--threads", options.threads)->check(CLI::Range(1, 1024));
  app.add_option("--seconds", options.seconds, "a measurement, at least")
      ->check(CLI::Range(0.0, 60.0));
  app.add_option("--row", options.row, "of the kernel table: avx512, avx2, portable; default: all");
  app.add_option("--only", options.only, "lines whose name contains this");
  app.add_flag("--cpu-time", options.cpu_time, "processor time instead of the clock's");
  CLI11_PARSE(app, argc, argv);
  Bench bench(options);
  for (const cpu::VectorRow& row : cpu::vector_table()) {
    const bool wanted = options.row.empty() || options.row == row.kernels->name;
    if (wanted && row.runs_on(cpu::features())) bench_row(bench, *row.kernels);
  }
  return 0;
}
