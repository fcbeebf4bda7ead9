// Any processor: vectors of four numbers as the compiler makes them.
#include <array>
#include <bit>
#include <cmath>

#include "base/float16.h"
#include "base/float8.h"
#include "cpu/vector_templates.h"

namespace krasis::cpu {
namespace {

struct Portable {
  static constexpr int kWidth = 4;
  struct Float {
    std::array<float, kWidth> lane;
  };
  static constexpr int kOutputsOf1 = 8;
  static constexpr int kOutputsOf2 = 4;
  static constexpr int kOutputsOf3 = 3;
  static constexpr int kOutputsOf4 = 3;
  static constexpr int kValueVectors = 2;

  template <class Make>
  static Float lanes_of(Make&& make) {
    Float out;
    for (std::size_t i = 0; i < kWidth; ++i) out.lane[i] = make(i);
    return out;
  }

  static float number(float value) { return value; }
  static float number(BrainBits value) { return to_float(bf16{value.bits}); }
  static float number(HalfBits value) { return to_float(f16{value.bits}); }
  static float number(QuarterBits value) { return to_float(e4m3{value.bits}); }

  static Float zero() { return set(0); }
  static Float set(float value) {
    return lanes_of([&](std::size_t /*lane*/) { return value; });
  }
  template <class E>
  static Float load(const E* from) {
    return lanes_of([&](std::size_t i) { return number(from[i]); });
  }
  template <class E>
  static Float load_first(const E* from, int lanes) {
    return lanes_of(
        [&](std::size_t i) { return static_cast<int>(i) < lanes ? number(from[i]) : 0.0F; });
  }
  static void store(float* to, const Float& value) { store_first(to, value, kWidth); }
  static void store_first(float* to, const Float& value, int lanes) {
    for (std::size_t i = 0; static_cast<int>(i) < lanes; ++i) to[i] = value.lane[i];
  }

  static Float add(const Float& a, const Float& b) {
    return lanes_of([&](std::size_t i) { return a.lane[i] + b.lane[i]; });
  }
  static Float sub(const Float& a, const Float& b) {
    return lanes_of([&](std::size_t i) { return a.lane[i] - b.lane[i]; });
  }
  static Float mul(const Float& a, const Float& b) {
    return lanes_of([&](std::size_t i) { return a.lane[i] * b.lane[i]; });
  }
  static Float div(const Float& a, const Float& b) {
    return lanes_of([&](std::size_t i) { return a.lane[i] / b.lane[i]; });
  }
  static Float fma(const Float& a, const Float& b, const Float& c) {
    return lanes_of([&](std::size_t i) { return a.lane[i] * b.lane[i] + c.lane[i]; });
  }
  static Float max(const Float& a, const Float& b) {
    return lanes_of([&](std::size_t i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; });
  }
  static Float min(const Float& a, const Float& b) {
    return lanes_of([&](std::size_t i) { return a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]; });
  }
  static float root(float value) { return std::sqrt(value); }

  static float sum(const Float& v) { return (v.lane[0] + v.lane[2]) + (v.lane[1] + v.lane[3]); }
  static void sum_four(const Float& a, const Float& b, const Float& c, const Float& d,
                       float* sums) {
    sums[0] = sum(a);
    sums[1] = sum(b);
    sums[2] = sum(c);
    sums[3] = sum(d);
  }
  static float largest(const Float& v) {
    const Float pairs = max(v, {{v.lane[2], v.lane[3], v.lane[0], v.lane[1]}});
    return pairs.lane[0] > pairs.lane[1] ? pairs.lane[0] : pairs.lane[1];
  }

  // Numbers from 2^23 on are whole, so adding 1.5 * 2^23 rounds what is well below it.
  static Float round(const Float& v) {
    return lanes_of([&](std::size_t i) { return v.lane[i] + 12582912.0F - 12582912.0F; });
  }
  // 0 for NaN, which no conversion to a whole number takes.
  static Float power_of_two(const Float& n) {
    return lanes_of([&](std::size_t i) {
      const int exponent = n.lane[i] > -127 ? static_cast<int>(n.lane[i]) : 0;
      return std::bit_cast<float>(static_cast<std::uint32_t>(exponent + 127) << 23);
    });
  }

  static void store_brain_first(std::uint16_t* to, const Float& value, int lanes) {
    for (std::size_t i = 0; static_cast<int>(i) < lanes; ++i) to[i] = to_bf16(value.lane[i]).bits;
  }
  static void store_quarter_first(std::uint8_t* to, const Float& value, int lanes) {
    for (std::size_t i = 0; static_cast<int>(i) < lanes; ++i) to[i] = to_e4m3(value.lane[i]).bits;
  }
};

}  // namespace

constinit const VectorKernels kVectorPortable = vector_kernels<Portable>("portable");

}  // namespace krasis::cpu
