#include "tune/device_rates.h"

#include <algorithm>
#include <chrono>
#include <functional>

namespace krasis {
namespace {

constexpr int kRuns = 3, kRepeats = 8;  // several in a row hide the launch

// The shortest time of one call, in seconds.
double shortest(Ops& ops, const std::function<void()>& call) {
  call();
  ops.synchronize();
  double best = 1e9;
  for (int run = 0; run < kRuns; ++run) {
    const auto start = std::chrono::steady_clock::now();
    for (int repeat = 0; repeat < kRepeats; ++repeat) call();
    ops.synchronize();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    best = std::min(best, seconds.count() / kRepeats);
  }
  return best;
}

std::size_t floats(std::int64_t count) {
  return static_cast<std::size_t>(count) * sizeof(float);
}

}  // namespace

double measure_product_rate(Ops& ops) {
  constexpr std::int64_t kTokens = 8192, kSize = 4096;
  const Buffer x = ops.memory().allocate(floats(kTokens * kSize));
  const Buffer out = ops.memory().allocate(floats(kTokens * kSize));
  const Buffer weight = ops.memory().allocate(floats(kSize * kSize) / 2);
  const Linear product = {.x = {x.as<float>(), kTokens, kSize},
                          .weight = {.format = Matrix::Format::BF16,
                                     .rows = kSize,
                                     .columns = kSize,
                                     .data = weight.data(),
                                     .tiles = {}},
                          .bias = {},
                          .out = {out.as<float>(), kTokens, kSize}};
  const double seconds = shortest(ops, [&] { ops.linear(product); });
  return 2.0 * static_cast<double>(kTokens * kSize) * static_cast<double>(kSize) / seconds;
}

double measure_copy_rate(Ops& ops) {
  constexpr std::int64_t kRows = 8192, kColumns = 4096;
  const Buffer x = ops.memory().allocate(floats(kRows * kColumns));
  const Buffer out = ops.memory().allocate(floats(kRows * kColumns));
  const Copy copy = {.x = {x.as<float>(), kRows, kColumns},
                     .out = {out.as<float>(), kRows, kColumns}};
  const double seconds = shortest(ops, [&] { ops.copy(copy); });
  return 2.0 * static_cast<double>(floats(kRows * kColumns)) / seconds;
}

}  // namespace krasis
