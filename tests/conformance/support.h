// Every backend this machine can run, against the oracle.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <gtest/gtest.h>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "cpu/cpu_ops.h"
#include "cpu/features.h"
#include "cpu/tile_table.h"
#include "cpu/vector_kernels.h"
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

// Rows further apart than they are long. What lies between them must stay as it is.
class StridedRows {
 public:
  StridedRows(std::int64_t rows, std::int64_t cols, std::int64_t gap = 3)
      : values_(static_cast<std::size_t>(rows * (cols + gap) + 1), kGap),
        view_(values_.data(), rows, cols, cols + gap) {}
  StridedRows(std::int64_t rows, std::int64_t cols, const std::vector<float>& values,
              std::int64_t gap = 3)
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
        if (view_.row(r)[c] != kGap) return false;
    }
    return values_.back() == kGap;
  }

 private:
  static constexpr float kGap = 12345;
  std::vector<float> values_;
  MutableRows view_;
};

// Calls test(ops) with the CPU's operations for every row of the table of vector kernels that this
// processor can run, with one thread and with three.
template <class Test>
void for_each_backend(Test&& test) {
  for (const cpu::VectorRow& row : cpu::vector_table()) {
    if (!row.runs_on(cpu::features())) continue;
    for (const int threads : {1, 3}) {
      ThreadPool pool({.threads = threads, .pin = false});
      const auto ops = cpu::make_cpu_ops(pool, *row.kernels, cpu::best_tile_kernels());
      SCOPED_TRACE(ops->name());
      test(*ops);
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

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

// The length of the difference, in lengths of what is expected.
inline double relative_error(const std::vector<float>& actual, const std::vector<float>& expected) {
  double difference = 0;
  double length = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
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
