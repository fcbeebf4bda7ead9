#include <algorithm>

#include "model/layer.h"

namespace krasis {
namespace {

class GroupedQueryLayer final : public LayerPart {
 public:
  GroupedQueryLayer(const GroupedQueryAttention& spec, std::int64_t layer, Loader& loader,
                    RotaryTables& rotary)
      : spec_(spec),
        layer_(layer),
        eps_(static_cast<float>(loader.spec().norm_eps)),
        rotary_(rotary.add(spec.rotary, loader.memory())) {
    const DenseFormat format = loader.formats().attention;
    query_ = loader.matrix(Role::Query, layer, format);
    key_ = loader.matrix(Role::Key, layer, format);
    value_ = loader.matrix(Role::Value, layer, format);
    output_ = loader.matrix(Role::Output, layer, format);
    query_bias_ = loader.vector_if(Role::QueryBias, layer);
    key_bias_ = loader.vector_if(Role::KeyBias, layer);
    value_bias_ = loader.vector_if(Role::ValueBias, layer);
    output_bias_ = loader.vector_if(Role::OutputBias, layer);
    if (!spec.qk_norm) return;
    query_norm_ = loader.norm(Role::QueryNorm, layer);
    key_norm_ = loader.norm(Role::KeyNorm, layer);
  }

  RowForm input_form(const Ops& ops, std::int64_t rows) const override {
    return std::max({ops.form_for(query_.matrix, rows), ops.form_for(key_.matrix, rows),
                     ops.form_for(value_.matrix, rows)});
  }

  void run(const Step& step, const ProductRows& x, MutableRows out) const override {
    const Workspace::Scope scope(step.workspace);
    const std::int64_t dim = spec_.head_dim;
    const auto project = [&](const DenseMatrix& weight, const DenseVector& bias) {
      const MutableRows rows = step.workspace.rows(x.rows, weight.matrix.rows);
      step.ops.linear({.x = x, .weight = weight.matrix, .bias = bias, .out = rows});
      return rows;
    };
    const PagedKv kv = step.state.kv(layer_);
    MutableRows key, value;
    step.ops.beside([&] {
      key = project(key_, key_bias_).split(spec_.kv_heads);
      norm_and_rotate(step, key, key_norm_, spec_.kv_heads);
    });
    step.ops.beside([&] { value = project(value_, value_bias_).split(spec_.kv_heads); });
    // With an output gate a head's row is its query and then its gate.
    const MutableRows query_and_gate =
        project(query_, query_bias_).split(spec_.heads);  // [tokens * heads, dim or 2 * dim]
    const MutableRows query = query_and_gate.columns(0, dim);
    norm_and_rotate(step, query, query_norm_, spec_.heads);

    const MutableRows mixed = step.workspace.rows(x.rows, spec_.heads * dim);
    const MutableRows heads = mixed.split(spec_.heads);
    step.ops.join();
    step.ops.kv_append({.keys = key, .values = value, .kv = kv, .segments = step.batch.segments});
    step.ops.attention({.queries = query,
                        .kv = kv,
                        .segments = step.batch.segments,
                        .heads = spec_.heads,
                        .scale = spec_.scale,
                        .out = heads});
    ProductRows result = mixed;
    if (spec_.output_gate) {
      const RowForm form = step.ops.form_for(output_.matrix, mixed.rows);
      const MutableRows gated = step.workspace.rows(mixed.rows, mixed.cols);
      step.ops.sigmoid_multiply({.x = heads,
                                 .gate = query_and_gate.columns(dim, dim),
                                 .out = {gated.split(spec_.heads), form}});
      result = {gated, form};
    }
    step.ops.linear({.x = result, .weight = output_.matrix, .bias = output_bias_, .out = out});
  }

 private:
  void norm_and_rotate(const Step& step, MutableRows rows, const DenseVector& norm,
                       std::int64_t heads) const {
    if (!norm.empty()) step.ops.rms_norm({.x = rows, .weight = norm, .eps = eps_, .out = rows});
    const RotaryRows& table = step.rotary[rotary_];
    const MutableRows rotated = rows.columns(0, spec_.rotary.dim());
    step.ops.rotary({.x = rotated,
                     .cosine = table.cosine,
                     .sine = table.sine,
                     .heads = heads,
                     .interleaved = spec_.rotary.interleaved,
                     .out = rotated});
  }

  GroupedQueryAttention spec_;
  std::int64_t layer_;
  float eps_;
  std::size_t rotary_;  // table
  DenseMatrix query_, key_, value_, output_;
  DenseVector query_bias_, key_bias_, value_bias_, output_bias_;  // or empty
  DenseVector query_norm_, key_norm_;                             // [head_dim], or empty
};

}  // namespace

std::unique_ptr<LayerPart> load_grouped_query(const GroupedQueryAttention& spec, std::int64_t layer,
                                              Loader& loader, RotaryTables& rotary) {
  return std::make_unique<GroupedQueryLayer>(spec, layer, loader, rotary);
}

}  // namespace krasis
