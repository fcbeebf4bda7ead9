#include "cpu/elementwise.h"

#include <algorithm>
#include <cmath>

#include "cpu/linear.h"

namespace krasis::cpu {
namespace {

// About what one number takes: reading, little arithmetic, writing; an exponential.
constexpr double kMoveNs = 0.2;
constexpr double kExpNs = 1;
constexpr double kSineNs = 40;

template <class Work>
void for_rows(const Machine& machine, std::int64_t rows, std::int64_t cols, double number_ns,
              Work&& work) {
  for_tasks(machine.pool, rows, number_ns * static_cast<double>(cols),
            [&](int /*worker*/, std::int64_t row) { work(row); });
}

// cosine and sine of a token
struct Turn {
  const float *cosine, *sine;
  std::int64_t half;
};

// out may be x.
void rotate_halves(const float* x, const Turn& by, float* out) {
  for (std::int64_t i = 0; i < by.half; ++i) {
    const float a = x[i];
    const float b = x[i + by.half];
    out[i] = a * by.cosine[i] - b * by.sine[i];
    out[i + by.half] = b * by.cosine[i] + a * by.sine[i];
  }
}

void rotate_neighbours(const float* x, const Turn& by, float* out) {
  for (std::int64_t i = 0; i < by.half; ++i) {
    const float a = x[2 * i];
    const float b = x[2 * i + 1];
    out[2 * i] = a * by.cosine[i] - b * by.sine[i];
    out[2 * i + 1] = b * by.cosine[i] + a * by.sine[i];
  }
}

}  // namespace

void embedding(const Machine& machine, const Embedding& op) {
  const Element element = element_of(op.table.format);
  const std::size_t row_bytes = static_cast<std::size_t>(op.table.columns) * bytes_of(element);
  for_rows(machine, op.out.rows, op.out.cols, kMoveNs, [&](std::int64_t t) {
    const auto id = static_cast<std::size_t>(op.ids[static_cast<std::size_t>(t)]);
    machine.kernels.widen(op.table.data + id * row_bytes, element, op.out.cols, op.out.row(t));
  });
}

void rms_norm(const Machine& machine, const RmsNorm& op) {
  for_rows(machine, op.x.rows, op.x.cols, kMoveNs, [&](std::int64_t t) {
    machine.kernels.norm_row({.x = op.x.row(t),
                              .weight = op.weight.data(),
                              .gate = nullptr,
                              .eps = op.eps,
                              .columns = op.x.cols,
                              .out = op.out.row(t)});
  });
}

void gated_rms_norm(const Machine& machine, const GatedRmsNorm& op) {
  for_rows(machine, op.x.rows, op.x.cols, kExpNs, [&](std::int64_t t) {
    machine.kernels.norm_row({.x = op.x.row(t),
                              .weight = op.weight.data(),
                              .gate = op.gate.row(t),
                              .eps = op.eps,
                              .columns = op.x.cols,
                              .out = op.out.row(t)});
  });
}

void add_norm(const Machine& machine, const AddNorm& op) {
  constexpr double kPasses = 2;
  for_rows(machine, op.x.rows, op.x.cols, kPasses * kMoveNs, [&](std::int64_t t) {
    const float* added = op.y.row(t);
    if (op.z.rows > 0) {
      machine.kernels.add(added, op.z.row(t), op.x.cols, op.out.row(t));
      added = op.out.row(t);
    }
    machine.kernels.add(op.x.row(t), added, op.x.cols, op.sum.row(t));
    machine.kernels.norm_row({.x = op.sum.row(t),
                              .weight = op.weight.data(),
                              .gate = nullptr,
                              .eps = op.eps,
                              .columns = op.x.cols,
                              .out = op.out.row(t)});
  });
}

void add(const Machine& machine, const Add& op) {
  constexpr std::int64_t kPiece = 512;
  for_rows(machine, op.x.rows, op.x.cols, kMoveNs, [&](std::int64_t t) {
    if (op.z.rows == 0)
      return machine.kernels.add(op.x.row(t), op.y.row(t), op.x.cols, op.out.row(t));
    std::array<float, kPiece> added;
    for (std::int64_t d = 0; d < op.x.cols; d += kPiece) {
      const std::int64_t count = std::min(kPiece, op.x.cols - d);
      machine.kernels.add(op.y.row(t) + d, op.z.row(t) + d, count, added.data());
      machine.kernels.add(op.x.row(t) + d, added.data(), count, op.out.row(t) + d);
    }
  });
}

void copy(const Machine& machine, const Copy& op) {
  for_rows(machine, op.x.rows, op.x.cols, kMoveNs,
           [&](std::int64_t t) { std::copy_n(op.x.row(t), op.x.cols, op.out.row(t)); });
}

void sigmoid_multiply(const Machine& machine, const SigmoidMultiply& op) {
  const bool one_gate = op.gate.cols == 1;
  for_rows(machine, op.x.rows, op.x.cols, one_gate ? kMoveNs : kExpNs, [&](std::int64_t t) {
    machine.kernels.sigmoid_multiply(op.x.row(t), op.gate.row(t), one_gate, op.x.cols,
                                     op.out.row(t));
  });
}

void rotary_table(const Machine& machine, const RotaryTable& op) {
  for_rows(machine, op.cosine.rows, op.cosine.cols, kSineNs, [&](std::int64_t t) {
    const auto position = static_cast<float>(op.positions[static_cast<std::size_t>(t)]);
    for (std::int64_t i = 0; i < op.cosine.cols; ++i) {
      const double angle{position * op.frequencies[static_cast<std::size_t>(i)]};
      op.cosine.row(t)[i] = static_cast<float>(double{op.scale} * std::cos(angle));
      op.sine.row(t)[i] = static_cast<float>(double{op.scale} * std::sin(angle));
    }
  });
}

void rotary(const Machine& machine, const Rotary& op) {
  const auto rotate = op.interleaved ? rotate_neighbours : rotate_halves;
  for_rows(machine, op.x.rows, op.x.cols, kMoveNs, [&](std::int64_t r) {
    const std::int64_t token = r / op.heads;
    rotate(op.x.row(r), {op.cosine.row(token), op.sine.row(token), op.x.cols / 2}, op.out.row(r));
  });
}

}  // namespace krasis::cpu
