#include <algorithm>

#include "ops/reference.h"

namespace krasis::reference {
namespace {

double inverse_rms(const Rows& x, std::int64_t row, float eps) {
  double sum = 0;
  for (std::int64_t d = 0; d < x.cols; ++d) sum += double{x.row(row)[d]} * double{x.row(row)[d]};
  return 1 / std::sqrt(sum / static_cast<double>(x.cols) + double{eps});
}

}  // namespace

void embedding(const Embedding& op) {
  for (std::int64_t t = 0; t < op.out.rows; ++t) {
    const std::int32_t id = op.ids[static_cast<std::size_t>(t)];
    for (std::int64_t d = 0; d < op.out.cols; ++d)
      op.out.row(t)[d] = static_cast<float>(element(op.table, id, d));
  }
}

void rms_norm(const RmsNorm& op) {
  for (std::int64_t t = 0; t < op.x.rows; ++t) {
    const double scale = inverse_rms(op.x, t, op.eps);
    for (std::int64_t d = 0; d < op.x.cols; ++d) {
      const double weight = op.weight[static_cast<std::size_t>(d)];
      op.out.row(t)[d] = static_cast<float>(double{op.x.row(t)[d]} * scale * weight);
    }
  }
}

void gated_rms_norm(const GatedRmsNorm& op) {
  for (std::int64_t t = 0; t < op.x.rows; ++t) {
    const double scale = inverse_rms(op.x, t, op.eps);
    for (std::int64_t d = 0; d < op.x.cols; ++d) {
      const double weight = op.weight[static_cast<std::size_t>(d)];
      const double normed = double{op.x.row(t)[d]} * scale * weight;
      op.out.row(t)[d] = static_cast<float>(normed * silu(double{op.gate.row(t)[d]}));
    }
  }
}

void add_norm(const AddNorm& op) {
  for (std::int64_t t = 0; t < op.x.rows; ++t) {
    for (std::int64_t d = 0; d < op.x.cols; ++d) {
      const float added = op.y.row(t)[d] + (op.z.rows > 0 ? op.z.row(t)[d] : 0.0F);
      op.sum.row(t)[d] = op.x.row(t)[d] + added;
    }
  }
  rms_norm({.x = op.sum, .weight = op.weight, .eps = op.eps, .out = op.out});
}

void add(const Add& op) {
  for (std::int64_t t = 0; t < op.x.rows; ++t) {
    for (std::int64_t d = 0; d < op.x.cols; ++d) {
      const float added = op.y.row(t)[d] + (op.z.rows > 0 ? op.z.row(t)[d] : 0.0F);
      op.out.row(t)[d] = op.x.row(t)[d] + added;
    }
  }
}

void copy(const Copy& op) {
  for (std::int64_t t = 0; t < op.x.rows; ++t) std::copy_n(op.x.row(t), op.x.cols, op.out.row(t));
}

void sigmoid_multiply(const SigmoidMultiply& op) {
  for (std::int64_t t = 0; t < op.x.rows; ++t) {
    for (std::int64_t d = 0; d < op.x.cols; ++d) {
      const double gate = op.gate.row(t)[op.gate.cols == 1 ? 0 : d];
      op.out.row(t)[d] = static_cast<float>(double{op.x.row(t)[d]} * sigmoid(gate));
    }
  }
}

void rotary_table(const RotaryTable& op) {
  for (std::int64_t t = 0; t < op.cosine.rows; ++t) {
    const auto position = static_cast<float>(op.positions[static_cast<std::size_t>(t)]);
    for (std::int64_t i = 0; i < op.cosine.cols; ++i) {
      const float angle = position * op.frequencies[static_cast<std::size_t>(i)];  // F32: contract
      op.cosine.row(t)[i] = static_cast<float>(double{op.scale} * std::cos(double{angle}));
      op.sine.row(t)[i] = static_cast<float>(double{op.scale} * std::sin(double{angle}));
    }
  }
}

void rotary(const Rotary& op) {
  const std::int64_t half = op.x.cols / 2;
  for (std::int64_t r = 0; r < op.x.rows; ++r) {
    const std::int64_t token = r / op.heads;
    for (std::int64_t i = 0; i < half; ++i) {
      const std::int64_t first = op.interleaved ? 2 * i : i;
      const std::int64_t second = op.interleaved ? 2 * i + 1 : i + half;
      const double a = op.x.row(r)[first];
      const double b = op.x.row(r)[second];
      const double c = op.cosine.row(token)[i];
      const double s = op.sine.row(token)[i];
      op.out.row(r)[first] = static_cast<float>(a * c - b * s);
      op.out.row(r)[second] = static_cast<float>(b * c + a * s);
    }
  }
}

}  // namespace krasis::reference
