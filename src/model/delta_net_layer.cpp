#include <algorithm>

#include "model/layer.h"

namespace krasis {
namespace {

// The checkpoint's projections hold for each key head its own [q | k | v | z] or [b | a] (v, z, b
// and a of the value heads that share it). The convolution wants all q, then all k, then all v, so
// the rows are brought into that order once. Appends the rows of one part.
struct Interleaved {
  std::int64_t key_heads;
  std::int64_t head_rows;  // rows of one key head, all parts

  void append(std::int64_t first, std::int64_t rows, std::vector<std::int64_t>& order) const {
    for (std::int64_t head = 0; head < key_heads; ++head)
      for (std::int64_t row = 0; row < rows; ++row) order.push_back(head * head_rows + first + row);
  }
};

class DeltaNetLayer final : public LayerPart {
 public:
  DeltaNetLayer(const GatedDeltaNet& spec, std::int64_t layer, Loader& loader)
      : spec_(spec),
        layer_(layer),
        eps_(static_cast<float>(loader.spec().norm_eps)),
        keys_(spec.key_heads * spec.key_dim),
        values_(spec.value_heads * spec.value_dim) {
    load_projections(loader);
    output_ = loader.matrix(Role::DeltaOutput, layer, loader.formats().attention);
    conv_ = loader.vector(Role::DeltaConv, layer);
    a_log_ = loader.vector(Role::DeltaALog, layer);
    dt_bias_ = loader.vector(Role::DeltaDtBias, layer);
    norm_ = loader.vector(Role::DeltaNorm, layer);  // never zero-centred
  }

  RowForm input_form(const Ops& ops, std::int64_t rows) const override {
    return std::max({ops.form_for(qkv_.matrix, rows), ops.form_for(z_.matrix, rows),
                     ops.form_for(ba_.matrix, rows)});
  }

  void run(const Step& step, const ProductRows& x, MutableRows out) const override {
    const Workspace::Scope scope(step.workspace);
    const auto project = [&](const DenseMatrix& weight) {
      const MutableRows rows = step.workspace.rows(x.rows, weight.matrix.rows);
      step.ops.linear({.x = x, .weight = weight.matrix, .bias = {}, .out = rows});
      return rows;
    };
    const ModelState::Recurrent state = step.state.recurrent(layer_);
    MutableRows z, beta, log_decay;
    step.ops.beside([&] { z = project(z_); });
    step.ops.beside([&] {
      const MutableRows ba = project(ba_);
      beta = ba.columns(0, spec_.value_heads);
      log_decay = ba.columns(spec_.value_heads, spec_.value_heads);
      step.ops.delta_gates({.a = log_decay,
                            .b = beta,
                            .a_log = a_log_,
                            .dt_bias = dt_bias_,
                            .log_decay = log_decay,
                            .beta = beta});
    });
    const MutableRows raw = project(qkv_);
    const MutableRows qkv = step.workspace.rows(raw.rows, raw.cols);
    const MutableRows mixed = step.workspace.rows(x.rows, values_);
    const CausalConv conv = {.x = raw,
                             .weight = conv_,
                             .width = spec_.conv_width,
                             .state = state.conv,
                             .slots = step.state.size().slots,
                             .segments = step.batch.segments,
                             .out = qkv};
    step.ops.conv_and_delta_net(conv, {.q = qkv.columns(0, keys_),
                                       .k = qkv.columns(keys_, keys_),
                                       .v = qkv.columns(2 * keys_, values_),
                                       .log_decay = log_decay,
                                       .beta = beta,
                                       .key_heads = spec_.key_heads,
                                       .value_heads = spec_.value_heads,
                                       .key_dim = spec_.key_dim,
                                       .value_dim = spec_.value_dim,
                                       .state = state.delta,
                                       .slots = step.state.size().slots,
                                       .segments = step.batch.segments,
                                       .out = mixed});
    const MutableRows heads = mixed.split(spec_.value_heads);
    const MutableRows gate = z.split(spec_.value_heads);
    // The convolution's input is no longer wanted.
    const MutableRows gated(raw.data, mixed.rows, mixed.cols);
    const RowForm form = step.ops.form_for(output_.matrix, gated.rows);
    step.ops.gated_rms_norm({.x = heads,
                             .gate = gate,
                             .weight = norm_,
                             .eps = eps_,
                             .out = {gated.split(spec_.value_heads), form}});
    step.ops.linear({.x = {gated, form}, .weight = output_.matrix, .bias = {}, .out = out});
  }

 private:
  void load_projections(Loader& loader) {
    const DenseFormat format = loader.formats().attention;
    const std::int64_t hidden = loader.spec().hidden;
    const std::int64_t shared = spec_.value_heads / spec_.key_heads;  // value heads of a key head
    const std::int64_t key = spec_.key_dim, value = shared * spec_.value_dim;

    const TensorView qkvz = loader.tensor(Role::DeltaQkvz, layer_);
    const Interleaved by_key_head = {spec_.key_heads, 2 * key + 2 * value};
    std::vector<std::int64_t> order;
    by_key_head.append(0, key, order);
    by_key_head.append(key, key, order);
    by_key_head.append(2 * key, value, order);
    qkv_ = loader.matrix(qkvz.dtype(), gather_rows(qkvz, order), {2 * keys_ + values_, hidden},
                         format);
    order.clear();
    by_key_head.append(2 * key + value, value, order);
    z_ = loader.matrix(qkvz.dtype(), gather_rows(qkvz, order), {values_, hidden}, format);

    const TensorView ba = loader.tensor(Role::DeltaBa, layer_);
    const Interleaved gates = {spec_.key_heads, 2 * shared};
    order.clear();
    gates.append(0, shared, order);
    gates.append(shared, shared, order);
    // A few rows that decide how much is forgotten: not worth quantizing.
    ba_ = loader.matrix(ba.dtype(), gather_rows(ba, order), {2 * spec_.value_heads, hidden},
                        DenseFormat::AsStored);
  }

  GatedDeltaNet spec_;
  std::int64_t layer_;
  float eps_;
  std::int64_t keys_, values_;  // columns of all key heads, of all value heads
  DenseMatrix qkv_;             // [2 * keys + values, hidden]
  DenseMatrix z_;               // [values, hidden]
  DenseMatrix ba_;              // [2 * value_heads, hidden]
  DenseMatrix output_;
  DenseVector conv_;             // [2 * keys + values, conv_width]
  DenseVector a_log_, dt_bias_;  // [value_heads]
  DenseVector norm_;             // [value_dim]
};

}  // namespace

std::unique_ptr<LayerPart> load_delta_net(const GatedDeltaNet& spec, std::int64_t layer,
                                          Loader& loader) {
  return std::make_unique<DeltaNetLayer>(spec, layer, loader);
}

}  // namespace krasis
