#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "base/hash.h"
#include "base/parallel.h"
#include "tensor/host_buffer.h"
#include "weights/random_bits.h"
#include "weights/tensor_source.h"

namespace krasis {
namespace {

constexpr double kDeviation = 0.02;
constexpr int kTableBits = 12;  // 8 KB of normal numbers: stays in the L1 cache
constexpr std::size_t kTableSize = std::size_t{1} << kTableBits;
constexpr std::int64_t kPiece = std::int64_t{1} << 20;  // elements that a thread fills at a time

double normal_cdf(double x) {
  return 0.5 * std::erfc(-x / std::sqrt(2.0));
}

// The middles of kTableSize slices of equal probability, so that a uniform index gives a normal
// number.
std::vector<bf16> normal_table() {
  std::vector<bf16> table(kTableSize);
  for (std::size_t i = 0; i < kTableSize; ++i) {
    const double wanted = (static_cast<double>(i) + 0.5) / static_cast<double>(kTableSize);
    double low = -8, high = 8;
    for (int step = 0; step < 60; ++step) {
      const double middle = (low + high) / 2;
      (normal_cdf(middle) < wanted ? low : high) = middle;
    }
    table[i] = to_bf16(static_cast<float>(low * kDeviation));
  }
  return table;
}

class DummySource final : public TensorSource {
 public:
  DummySource() : table_(normal_table()) {}

  std::optional<TensorView> find(const std::string& name, const Shape& expected) override {
    const std::lock_guard lock(tensors_mutex_);
    const std::string key = name + " " + expected.to_string();
    auto found = tensors_.find(key);
    if (found == tensors_.end()) found = tensors_.emplace(key, fill(name, expected)).first;
    return TensorView(found->second.data(), DType::BF16, expected);
  }
  std::string description() const override { return "dummy weights"; }
  std::string fingerprint() const override { return ""; }

 private:
  HostBuffer fill(const std::string& name, const Shape& shape) const {
    const std::int64_t count = shape.count();
    HostBuffer buffer(static_cast<std::size_t>(count) * sizeof(bf16));
    bf16* values = buffer.as<bf16>();
    if (shape.rank() <= 1) {
      std::fill_n(values, count, to_bf16(1));
      return buffer;
    }
    const std::uint64_t seed = xxh3_64(std::as_bytes(std::span(name)));
    for_each_in_parallel((count + kPiece - 1) / kPiece, 0, [&](std::int64_t piece) {
      RandomBits random(seed + static_cast<std::uint64_t>(piece));
      const std::int64_t last = std::min(count, (piece + 1) * kPiece);
      for (std::int64_t i = piece * kPiece; i < last;) {
        std::uint64_t bits = random.next();
        for (int used = 0; used + kTableBits <= 64 && i < last; used += kTableBits, ++i) {
          values[i] = table_[bits % kTableSize];
          bits >>= kTableBits;
        }
      }
    });
    return buffer;
  }

  const std::vector<bf16> table_;
  std::mutex tensors_mutex_;
  std::map<std::string, HostBuffer> tensors_;  // guarded by tensors_mutex_
};

}  // namespace

std::unique_ptr<TensorSource> make_dummy_source() {
  return std::make_unique<DummySource>();
}

}  // namespace krasis
