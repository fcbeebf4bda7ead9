#include "tune/memory_rate.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>

#include "tensor/host_buffer.h"

namespace krasis {
namespace {

std::uint64_t sum_of(const std::uint64_t* values, std::size_t count) {
  // Four sums: one would wait for its own additions.
  std::uint64_t sums[4] = {};
  for (std::size_t i = 0; i + 32 <= count; i += 32) {
    for (std::size_t j = 0; j < 8; ++j) {
      for (std::size_t k = 0; k < 4; ++k) sums[k] += values[i + j * 4 + k];
    }
  }
  return sums[0] + sums[1] + sums[2] + sums[3];
}

}  // namespace

double measure_read_rate(ThreadPool& pool, std::size_t bytes, int passes) {
  const HostBuffer buffer(bytes);
  const std::size_t share = bytes / sizeof(std::uint64_t) / static_cast<std::size_t>(pool.size());
  const auto part = [&](int worker) {
    return buffer.as<std::uint64_t>() + static_cast<std::size_t>(worker) * share;
  };
  pool.run([&](int worker) { std::fill_n(part(worker), share, std::uint64_t{1}); });
  std::atomic<std::uint64_t> total{0};  // keeps the sums from being optimised away
  double best = 0;
  for (int pass = 0; pass < passes; ++pass) {
    const auto start = std::chrono::steady_clock::now();
    pool.run([&](int worker) { total += sum_of(part(worker), share); });
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    best = std::max(
        best, static_cast<double>(share * sizeof(std::uint64_t)) * pool.size() / seconds.count());
  }
  return best;
}

}  // namespace krasis
