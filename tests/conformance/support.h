// Operations against the oracle. The same cases run with the CPU's operations (cpu_backends.cpp)
// and with a device's (tests/gpu).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <gtest/gtest.h>
#include <limits>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "ops/ops.h"

namespace krasis::test {

constexpr double kUlp = std::numeric_limits<float>::epsilon();

inline std::vector<float> normal_values(std::int64_t count, unsigned seed, float deviation = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, deviation);
  std::vector<float> values(static_cast<std::size_t>(count));
  std::generate(values.begin(), values.end(), [&] { return normal(random); });
  return values;
}

inline std::vector<float> absolute(std::vector<float> values) {
  for (float& value : values) value = std::abs(value);
  return values;
}

// What results hold before they are computed.
constexpr float kUntouched = 12345;

// How far apart rows are beyond their length; even ones meet paths for aligned rows.
inline std::int64_t row_gap() {
  const char* gap = std::getenv("KRASIS_TEST_ROW_GAP");
  return gap == nullptr ? 3 : std::atoi(gap);
}

// Rows further apart than they are long. What lies between them must stay as it is.
class StridedRows {
 public:
  StridedRows(std::int64_t rows, std::int64_t cols, std::int64_t gap = row_gap())
      : values_(static_cast<std::size_t>(rows * (cols + gap) + 1), kUntouched),
        view_(values_.data(), rows, cols, cols + gap) {}
  StridedRows(std::int64_t rows, std::int64_t cols, const std::vector<float>& values,
              std::int64_t gap = row_gap())
      : StridedRows(rows, cols, gap) {
    for (std::int64_t r = 0; r < rows; ++r)
      std::copy_n(values.data() + r * cols, cols, view_.row(r));
  }
  StridedRows(const StridedRows&) = delete;
  StridedRows& operator=(const StridedRows&) = delete;

  MutableRows view() { return view_; }
  std::vector<float> values() const {
    std::vector<float> packed;
    for (std::int64_t r = 0; r < view_.rows; ++r)
      packed.insert(packed.end(), view_.row(r), view_.row(r) + view_.cols);
    return packed;
  }
  bool gaps_untouched() const {
    for (std::int64_t r = 0; r < view_.rows; ++r) {
      for (std::int64_t c = view_.cols; c < view_.stride; ++c)
        if (view_.row(r)[c] != kUntouched) return false;
    }
    return values_.back() == kUntouched;
  }

 private:
  std::vector<float> values_;
  MutableRows view_;
};

// Calls test(ops) with each of the operations under test.
void for_each_backend(const std::function<void(Ops&)>& test);

// What a limit for sums of F32 products becomes if the operations under test round the operands of
// products to 16 bits first.
double rounded(double limit);
// What a limit for products with tiles becomes if they do not quantize activations as the oracle
// does.
double unquantized(double limit);

// |actual - expected| <= tolerance * magnitude for every number; magnitude is what the rounding
// errors of its terms are relative to.
inline void expect_near(const std::vector<float>& actual, const std::vector<float>& expected,
                        const std::vector<float>& magnitude, double tolerance) {
  ASSERT_EQ(actual.size(), expected.size());
  ASSERT_EQ(magnitude.size(), expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) {
    const double limit = tolerance * double{std::abs(magnitude[i])};
    ASSERT_NEAR(actual[i], expected[i], limit) << "number " << i;
  }
}

// Marks the state of slots in which no segment has tokens as kUntouched.
inline void mark_idle_slots(std::span<const Segment> segments, std::int64_t slots,
                            std::vector<float>& state) {
  const std::int64_t size = static_cast<std::int64_t>(state.size()) / slots;
  for (std::int64_t slot = 0; slot < slots; ++slot) {
    const bool busy = std::any_of(segments.begin(), segments.end(), [&](const Segment& segment) {
      return segment.rows > 0 && segment.slot == slot;
    });
    if (!busy) std::fill_n(state.begin() + slot * size, size, kUntouched);
  }
}

// The length of the difference, in lengths of what is expected. What is expected to be kUntouched
// must be, and has no length: it would hide errors of the rest.
inline double relative_error(const std::vector<float>& actual, const std::vector<float>& expected) {
  double difference = 0;
  double length = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (expected[i] == kUntouched) {
      if (actual[i] != kUntouched) return std::numeric_limits<double>::infinity();
      continue;
    }
    difference += std::pow(double{actual[i]} - double{expected[i]}, 2);
    length += std::pow(double{expected[i]}, 2);
  }
  return length > 0 ? std::sqrt(difference / length) : std::sqrt(difference);
}

// A matrix with its own memory, of any plain format.
class PlainMatrix {
 public:
  PlainMatrix(Matrix::Format format, std::int64_t rows, std::int64_t columns,
              const std::vector<float>& values)
      : matrix_{.format = format, .rows = rows, .columns = columns, .data = nullptr, .tiles = {}} {
    for (const float value : values) append(value);
    matrix_.data = bytes_.data();
  }
  PlainMatrix(const PlainMatrix&) = delete;
  PlainMatrix(PlainMatrix&&) = default;
  PlainMatrix& operator=(const PlainMatrix&) = delete;
  const Matrix& matrix() const { return matrix_; }

 private:
  template <class T>
  void put(T value) {
    bytes_.resize(bytes_.size() + sizeof(T));
    std::memcpy(bytes_.data() + bytes_.size() - sizeof(T), &value, sizeof(T));
  }
  void append(float value) {
    switch (matrix_.format) {
      case Matrix::Format::F32:
        put(value);
        break;
      case Matrix::Format::BF16:
        put(to_bf16(value));
        break;
      default:
        put(to_f16(value));
        break;
    }
  }

  Matrix matrix_;
  std::vector<std::byte> bytes_;
};

constexpr Matrix::Format kPlainFormats[] = {Matrix::Format::F32, Matrix::Format::BF16,
                                            Matrix::Format::F16};

}  // namespace krasis::test
