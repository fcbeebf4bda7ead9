#include <algorithm>
#include <optional>

#include "model/one_expert.h"

namespace krasis {
namespace {

class DenseFfnLayer final : public LayerPart {
 public:
  DenseFfnLayer(std::int64_t layer, Loader& loader)
      : expert_({loader.tensor(Role::Gate, layer), loader.tensor(Role::Up, layer),
                 loader.tensor(Role::Down, layer)},
                layer, loader.formats().dense_mlp, loader) {}

  void run(const Step& step, const ProductRows& x, MutableRows out) const override {
    expert_.run(step, x, step.ones, out);
  }
  RowForm input_form(const Ops& ops, std::int64_t rows) const override {
    return expert_.input_form(ops, rows);
  }

 private:
  OneExpert expert_;
};

// Biases ride along as one more input: x is followed by a 1, gate and up by a column of their
// biases, and one more intermediate row always comes out as 1 for down's biases to multiply. The
// extra column starts a new group, so that it shares no scale where weights are quantized.
class Widened {
 public:
  Widened(const DenseFfn& spec, std::int64_t layer, const Loader& loader)
      : hidden_(one_more(loader.spec().hidden)), intermediate_(one_more(spec.intermediate)) {
    const auto matrix = static_cast<std::size_t>(hidden_ * intermediate_);
    buffer_ = HostBuffer(3 * matrix * sizeof(float));
    gate_ = buffer_.as<float>();
    up_ = gate_ + matrix;
    down_ = up_ + matrix;
    const auto fill = [&](float* to, std::int64_t width, Role weight, Role bias) {
      put(to, width, loader.numbers(weight, layer), loader.numbers(bias, layer));
    };
    fill(gate_, hidden_, Role::Gate, Role::GateBias);
    fill(up_, hidden_, Role::Up, Role::UpBias);
    fill(down_, intermediate_, Role::Down, Role::DownBias);
    // silu(32) / 32 is 1 in F32.
    constexpr float kOpen = 32;
    gate_[matrix - 1] = kOpen;
    up_[matrix - 1] = 1 / kOpen;
  }

  std::int64_t hidden() const { return hidden_; }
  std::size_t bytes() const { return buffer_.bytes(); }
  OneExpert::Weights weights() const {
    return {view(gate_, intermediate_, hidden_), view(up_, intermediate_, hidden_),
            view(down_, hidden_, intermediate_)};
  }

 private:
  static std::int64_t one_more(std::int64_t size) {
    return (size + kColumnPadding - 1) / kColumnPadding * kColumnPadding + 1;
  }

  // Weights [rows, columns] and biases [rows] into rows of `width` numbers.
  static void put(float* to, std::int64_t width, const std::vector<float>& weights,
                  const std::vector<float>& biases) {
    const std::size_t columns = weights.size() / biases.size();
    for (std::size_t row = 0; row < biases.size(); ++row, to += width) {
      std::copy_n(weights.data() + row * columns, columns, to);
      to[width - 1] = biases[row];
    }
  }

  static TensorView view(const float* data, std::int64_t rows, std::int64_t columns) {
    return {reinterpret_cast<const std::byte*>(data), DType::F32, {rows, columns}};
  }

  std::int64_t hidden_, intermediate_;  // with the extra one
  HostBuffer buffer_;
  float *gate_, *up_, *down_;  // in buffer_
};

class BiasedFfnLayer final : public LayerPart {
 public:
  BiasedFfnLayer(const DenseFfn& spec, std::int64_t layer, Loader& loader)
      : widened_(std::in_place, spec, layer, loader),
        width_(widened_->hidden()),
        expert_(widened_->weights(), layer, loader.formats().dense_mlp, loader) {
    std::vector<float> tail(static_cast<std::size_t>(width_ - loader.spec().hidden));
    tail.back() = 1;
    tail_ = loader.place(tail);
    if (loader.formats().dense_mlp == DenseFormat::AsStored && loader.memory().is_host()) {
      loader.count(widened_->bytes());
    } else {
      widened_.reset();  // the expert has its own weights
    }
  }

  void run(const Step& step, const ProductRows& x, MutableRows out) const override {
    const Workspace::Scope scope(step.workspace);
    const MutableRows wide = step.workspace.rows(x.rows, width_);
    const MutableRows wide_out = step.workspace.rows(x.rows, width_);
    const std::span<const float> tail = tail_;
    const Matrix tails = {.format = Matrix::Format::F32,
                          .rows = 1,
                          .columns = width_ - x.cols,
                          .data = reinterpret_cast<const std::byte*>(tail.data()),
                          .tiles = {}};
    step.ops.copy({.x = x, .out = wide.columns(0, x.cols)});
    step.ops.embedding(
        {.ids = step.zeros, .table = tails, .out = wide.columns(x.cols, tails.columns)});
    expert_.run(step, wide, step.ones, wide_out);
    step.ops.copy({.x = wide_out.columns(0, x.cols), .out = out});
  }

 private:
  std::optional<Widened> widened_;  // while the expert reads it
  std::int64_t width_;
  DenseVector tail_;  // of every row of the input: zeros and the 1
  OneExpert expert_;
};

}  // namespace

std::unique_ptr<LayerPart> load_dense_ffn(const DenseFfn& spec, std::int64_t layer,
                                          Loader& loader) {
  if (spec.bias) return std::make_unique<BiasedFfnLayer>(spec, layer, loader);
  return std::make_unique<DenseFfnLayer>(layer, loader);
}

}  // namespace krasis
