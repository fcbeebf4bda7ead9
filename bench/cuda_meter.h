// Times calls that queue work on a GPU, beside the time that moving their bytes and doing their
// arithmetic must take at rates measured on the same GPU.
#pragma once

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "cuda/cublaslt.h"
#include "cuda/launch.h"
#include "cuda/runtime.h"
#include "cuda/step_tables.h"

namespace krasis::bench {

struct Rates {
  double bytes = 0;       // a second, read and written, of a copy
  double operations = 0;  // a second, of a large product in BF16
};

// What a call cannot do without.
struct Bound {
  double bytes = 0;
  double operations = 0;
};

struct MeterOptions {
  std::size_t arena_bytes = std::size_t{16} << 30;
  std::size_t scratch_bytes = std::size_t{4} << 30;
  double tera_operations = 0;  // of the GPU in BF16; 0: measured
  int runs = 15;
  std::string only;  // names that contain it
};

class Meter {
 public:
  explicit Meter(const MeterOptions& options)
      : options_(options),
        arena_(options.arena_bytes),
        scratch_memory_(options.scratch_bytes),
        scratch_(scratch_memory_.data(), scratch_memory_.bytes()),
        properties_(properties()),
        cublas_(cuda::CublasLt::load(&no_cublas_)) {
    std::vector<std::uint32_t> pattern(kPatternBytes / sizeof(std::uint32_t));
    std::uint32_t state = 1;
    for (std::uint32_t& word : pattern) {
      state = state * 1664525U + 1013904223U;
      // One F32 or two BF16 between 1/4 and 1/2, of either sign.
      word = 0x3e803e80U | ((state >> 8) & 0x007f007fU) | (state & 0x80000000U) |
             ((state >> 4) & 0x8000U);
    }
    cuda::check(cudaMemcpy(arena_.data(), pattern.data(), kPatternBytes, cudaMemcpyHostToDevice),
                "copying random numbers");
    refill(arena_.bytes());
  }

  const Rates& rates() const { return rates_; }
  void set_rates(const Rates& rates) { rates_ = rates; }
  const MeterOptions& options() const { return options_; }
  cudaStream_t stream() const { return stream_.get(); }
  cuda::CublasLt* cublas() const { return cublas_.get(); }
  const std::string& no_cublas() const { return no_cublas_; }  // why not

  // Memory of small random numbers until the next release(): each 4 bytes an F32 or two BF16.
  std::byte* take(std::int64_t bytes) {
    const std::size_t rounded = (static_cast<std::size_t>(bytes) + 255) / 256 * 256;
    if (rounded > arena_.bytes() - kPatternBytes - used_)
      throw Error(ErrorCode::OutOfMemory, "bench: the arena is too small");
    std::byte* at = arena_.data() + kPatternBytes + used_;
    used_ += rounded;
    return at;
  }
  float* floats(std::int64_t count) {
    return reinterpret_cast<float*>(take(count * std::int64_t{sizeof(float)}));
  }
  template <class T>
  T* upload(const std::vector<T>& values) {
    std::byte* at = take(static_cast<std::int64_t>(values.size() * sizeof(T)));
    cuda::check(cudaMemcpy(at, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice),
                "copying inputs");
    return reinterpret_cast<T*>(at);
  }
  cuda::StepTables tables(const std::vector<Segment>& segments, std::int64_t tokens) {
    const cuda::StepPlan plan(segments, tokens);
    std::vector<std::int32_t> words(plan.words());
    plan.write(segments, words.data());
    return plan.tables(upload(words));
  }
  void release() {
    refill(used_ + kPatternBytes);
    used_ = 0;
  }

  // Runs kernel(op, launch); all scratch memory is free.
  template <class Op>
  void run(void (*kernel)(const Op&, const cuda::Launch&), const Op& op,
           const cuda::StepTables& tables = {}) {
    with_launch([&](const cuda::Launch& launch) { kernel(op, launch); }, tables);
  }
  void with_launch(const std::function<void(const cuda::Launch&)>& work,
                   const cuda::StepTables& tables = {}) {
    scratch_.give_back_all();
    work({stream_.get(), scratch_, properties_, tables, cublas_.get()});
  }

  // Median seconds of one call. call(i), i = 0 .. calls - 1, should touch other memory for other i,
  // so that nothing is found in a cache that a model would not find there.
  struct Times {
    double median = 0, best = 0, worst = 0;
  };
  enum class Queue : bool { AsGraph, OneByOne };
  Times measure(int calls, const std::function<void(int)>& call, Queue queue = Queue::AsGraph) {
    for (int i = 0; i < calls; ++i) call(i);
    stream_.synchronize();
    cudaGraphExec_t graph = queue == Queue::AsGraph ? capture(calls, call) : nullptr;
    const cuda::Event start(cuda::Event::Timing::Yes), end(cuda::Event::Timing::Yes);
    std::vector<double> seconds;
    for (int run = 0; run < options_.runs + 2; ++run) {
      start.record(stream_);
      if (graph != nullptr) {
        cuda::check(cudaGraphLaunch(graph, stream_.get()), "launching a graph");
      } else {
        for (int i = 0; i < calls; ++i) call(i);
      }
      end.record(stream_);
      end.synchronize();
      if (run >= 2) seconds.push_back(end.ms_since(start) * 1e-3 / calls);
    }
    if (graph != nullptr) cudaGraphExecDestroy(graph);
    std::sort(seconds.begin(), seconds.end());
    return {seconds[seconds.size() / 2], seconds.front(), seconds.back()};
  }

  bool wanted(const std::string& name) const {
    return name.find(options_.only) != std::string::npos;
  }

  // Prints one row. What throws is reported as such: the other rows still count.
  void report(const std::string& name, const Bound& bound, int calls,
              const std::function<void(int)>& call) {
    if (!wanted(name)) return;
    try {
      const Times times = measure(calls, call);
      const double memory = bound.bytes / rates_.bytes;
      const double arithmetic = bound.operations / rates_.operations;
      const double least = std::max(memory, arithmetic);
      std::printf(
          "%-66s %10.1f us  %+4.0f%% %+4.0f%%  %10.1f us %s %4.0f%%  %7.0f GB/s %6.0f T/s\n",
          name.c_str(), times.median * 1e6, (times.best / times.median - 1) * 100,
          (times.worst / times.median - 1) * 100, least * 1e6,
          memory > arithmetic ? "bytes" : "sums ", least / times.median * 100,
          bound.bytes / times.median * 1e-9, bound.operations / times.median * 1e-12);
    } catch (const std::exception& error) {
      std::printf("%-66s %s\n", name.c_str(), error.what());
      failures_ += 1;
    }
    std::fflush(stdout);
  }
  int failures() const { return failures_; }

  static void print_header() {
    std::printf("%-66s %13s  %11s  %13s %-5s %5s  %12s %10s\n", "", "median", "best worst", "bound",
                "by", "share", "bytes", "operations");
  }

 private:
  static constexpr std::size_t kPatternBytes = std::size_t{64} << 20;

  static cuda::DeviceProperties properties() {
    int device = 0;
    cuda::check(cudaGetDevice(&device), "asking for the device");
    const auto attribute = [&](cudaDeviceAttr which) {
      int value = 0;
      cuda::check(cudaDeviceGetAttribute(&value, which, device), "reading its attributes");
      return value;
    };
    return {.multiprocessors = attribute(cudaDevAttrMultiProcessorCount),
            .capability = attribute(cudaDevAttrComputeCapabilityMajor) * 10 +
                          attribute(cudaDevAttrComputeCapabilityMinor),
            .shared_bytes =
                static_cast<std::size_t>(attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin)),
            .l2_bytes = static_cast<std::size_t>(attribute(cudaDevAttrL2CacheSize))};
  }

  // The pattern over the first `bytes` of the arena.
  void refill(std::size_t bytes) {
    stream_.synchronize();
    bytes = std::min(bytes, arena_.bytes());
    for (std::size_t at = kPatternBytes; at < bytes; at += kPatternBytes) {
      cuda::check(
          cudaMemcpyAsync(arena_.data() + at, arena_.data(), std::min(kPatternBytes, bytes - at),
                          cudaMemcpyDeviceToDevice, stream_.get()),
          "spreading random numbers");
    }
    stream_.synchronize();
  }

  // nullptr where a call cannot be captured.
  cudaGraphExec_t capture(int calls, const std::function<void(int)>& call) {
    cuda::check(cudaStreamBeginCapture(stream_.get(), cudaStreamCaptureModeThreadLocal),
                "beginning a capture");
    bool complete = true;
    try {
      for (int i = 0; i < calls; ++i) call(i);
    } catch (const Error&) {
      complete = false;
    }
    cudaGraph_t graph = nullptr;
    const cudaError_t ended = cudaStreamEndCapture(stream_.get(), &graph);
    cudaGraphExec_t executable = nullptr;
    if (complete && ended == cudaSuccess)
      cuda::check(cudaGraphInstantiate(&executable, graph, 0), "making a graph");
    if (graph != nullptr) cudaGraphDestroy(graph);
    static_cast<void>(cudaGetLastError());
    return executable;
  }

  MeterOptions options_;
  cuda::Stream stream_;
  cuda::DeviceBuffer arena_, scratch_memory_;
  cuda::Scratch scratch_;
  cuda::DeviceProperties properties_;
  std::string no_cublas_;
  std::unique_ptr<cuda::CublasLt> cublas_;
  std::size_t used_ = 0;
  Rates rates_;
  int failures_ = 0;
};

}  // namespace krasis::bench
