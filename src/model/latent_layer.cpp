// Latent attention (ops/latent_attention.h): the cache holds one row [c | k_rope] a token, shared
// by all heads. kv_up of a head is cut into W_UK [nope, latent] and W_UV [value, latent] at load.
#include <cstring>

#include "model/layer.h"

namespace krasis {
namespace {

// Where head h, row r of kv_up [heads * (nope + value), latent] starts, in bytes.
struct UpRows {
  const TensorView& weights;
  const LatentAttention& spec;

  const std::byte* row(std::int64_t head, std::int64_t index) const {
    const std::int64_t first = head * (spec.nope_dim + spec.value_dim);
    return weights.data() +
           static_cast<std::size_t>((first + index) * spec.kv_lora_rank) * size_of(weights.dtype());
  }
};

// [heads * latent, nope]
HostBuffer transposed_key_up(const TensorView& weights, const LatentAttention& spec) {
  const std::size_t element = size_of(weights.dtype());
  const UpRows rows = {weights, spec};
  HostBuffer result(static_cast<std::size_t>(spec.heads * spec.kv_lora_rank * spec.nope_dim) *
                    element);
  for (std::int64_t head = 0; head < spec.heads; ++head) {
    for (std::int64_t n = 0; n < spec.nope_dim; ++n) {
      const std::byte* from = rows.row(head, n);
      for (std::int64_t c = 0; c < spec.kv_lora_rank; ++c) {
        const auto to =
            static_cast<std::size_t>((head * spec.kv_lora_rank + c) * spec.nope_dim + n);
        std::memcpy(result.data() + to * element, from + static_cast<std::size_t>(c) * element,
                    element);
      }
    }
  }
  return result;
}

// [heads * value, latent]
HostBuffer value_up(const TensorView& weights, const LatentAttention& spec) {
  const UpRows rows = {weights, spec};
  const std::size_t bytes =
      static_cast<std::size_t>(spec.value_dim * spec.kv_lora_rank) * size_of(weights.dtype());
  HostBuffer result(static_cast<std::size_t>(spec.heads) * bytes);
  for (std::int64_t head = 0; head < spec.heads; ++head) {
    std::memcpy(result.data() + static_cast<std::size_t>(head) * bytes,
                rows.row(head, spec.nope_dim), bytes);
  }
  return result;
}

// Tiles are cut by heads only where a head's rows fill whole strips; others stay as stored.
DenseFormat per_head(DenseFormat format, std::int64_t rows_a_head) {
  return rows_a_head % kStripRows == 0 ? format : DenseFormat::AsStored;
}

class LatentLayer final : public LayerPart {
 public:
  LatentLayer(const LatentAttention& spec, std::int64_t layer, Loader& loader, RotaryTables& rotary)
      : spec_(spec), layer_(layer), rotary_(rotary.add(spec.rotary, loader.memory())) {
    const DenseFormat format = loader.formats().attention;
    if (spec.q_lora_rank > 0) {
      query_down_ = loader.matrix(Role::QueryDown, layer, format);
      query_down_bias_ = loader.vector_if(Role::QueryDownBias, layer);
      query_norm_ = loader.norm(Role::QueryDownNorm, layer);
      query_ = loader.matrix(Role::QueryUp, layer, format);
    } else {
      query_ = loader.matrix(Role::Query, layer, format);
    }
    kv_down_ = loader.matrix(Role::KvDown, layer, format);
    kv_down_bias_ = loader.vector_if(Role::KvDownBias, layer);
    kv_norm_ = loader.norm(Role::KvDownNorm, layer);
    const TensorView up = loader.tensor(Role::KvUp, layer);
    key_up_ = loader.matrix(up.dtype(), transposed_key_up(up, spec),
                            {spec.heads * spec.kv_lora_rank, spec.nope_dim},
                            per_head(format, spec.kv_lora_rank));
    value_up_ = loader.matrix(up.dtype(), value_up(up, spec),
                              {spec.heads * spec.value_dim, spec.kv_lora_rank},
                              per_head(format, spec.value_dim));
    output_ = loader.matrix(Role::Output, layer, format);
    output_bias_ = loader.vector_if(Role::OutputBias, layer);
  }

  RowForm input_form(const Ops& ops, std::int64_t rows) const override {
    const Matrix& query = spec_.q_lora_rank > 0 ? query_down_.matrix : query_.matrix;
    return std::max(ops.form_for(query, rows), ops.form_for(kv_down_.matrix, rows));
  }

  void run(const Step& step, const ProductRows& x, MutableRows out) const override {
    const Workspace::Scope scope(step.workspace);
    const std::int64_t latent = spec_.kv_lora_rank, rope = spec_.rope_dim;
    const PagedKv kv = step.state.kv(layer_);
    step.ops.beside([&] { append_keys(step, x, kv); });

    const MutableRows query = queries(step, x);  // [tokens * heads, nope + rope]
    const MutableRows absorbed = step.workspace.rows(query.rows, latent + rope);
    rotate(step, query.columns(spec_.nope_dim, rope), spec_.heads, absorbed.columns(latent, rope));
    const MutableRows mixed = step.workspace.rows(query.rows, latent);
    const MutableRows values = step.workspace.rows(x.rows, spec_.heads * spec_.value_dim);
    step.ops.attention_over_latents({.queries = query.columns(0, spec_.nope_dim),
                                     .absorbed = absorbed,
                                     .mixed = mixed,
                                     .key_up = key_up_.matrix,
                                     .value_up = value_up_.matrix,
                                     .kv = kv,
                                     .segments = step.batch.segments,
                                     .heads = spec_.heads,
                                     .scale = spec_.scale,
                                     .out = values.split(spec_.heads)});
    step.ops.linear({.x = values, .weight = output_.matrix, .bias = output_bias_, .out = out});
  }

 private:
  void append_keys(const Step& step, const ProductRows& x, const PagedKv& kv) const {
    const MutableRows keys = step.workspace.rows(x.rows, spec_.kv_lora_rank + spec_.rope_dim);
    step.ops.linear({.x = x, .weight = kv_down_.matrix, .bias = kv_down_bias_, .out = keys});
    const MutableRows latent = keys.columns(0, spec_.kv_lora_rank);
    step.ops.rms_norm({.x = latent, .weight = kv_norm_, .eps = eps(), .out = latent});
    const MutableRows rope = keys.columns(spec_.kv_lora_rank, spec_.rope_dim);
    rotate(step, rope, 1, rope);
    step.ops.kv_append({.keys = keys, .values = {}, .kv = kv, .segments = step.batch.segments});
  }

  MutableRows queries(const Step& step, const ProductRows& x) const {
    const MutableRows query = step.workspace.rows(x.rows, query_.matrix.rows);
    if (spec_.q_lora_rank > 0) {
      const MutableRows down = step.workspace.rows(x.rows, spec_.q_lora_rank);
      step.ops.linear(
          {.x = x, .weight = query_down_.matrix, .bias = query_down_bias_, .out = down});
      step.ops.rms_norm({.x = down, .weight = query_norm_, .eps = eps(), .out = down});
      step.ops.linear({.x = down, .weight = query_.matrix, .bias = {}, .out = query});
    } else {
      step.ops.linear({.x = x, .weight = query_.matrix, .bias = {}, .out = query});
    }
    return query.split(spec_.heads);
  }

  void rotate(const Step& step, Rows rows, std::int64_t heads, MutableRows out) const {
    const RotaryRows& table = step.rotary[rotary_];
    step.ops.rotary({.x = rows,
                     .cosine = table.cosine,
                     .sine = table.sine,
                     .heads = heads,
                     .interleaved = spec_.rotary.interleaved,
                     .out = out});
  }

  float eps() const { return static_cast<float>(spec_.norm_eps); }

  LatentAttention spec_;
  std::int64_t layer_;
  std::size_t rotary_;      // table
  DenseMatrix query_down_;  // only with q_lora_rank
  DenseMatrix query_, kv_down_, key_up_, value_up_, output_;
  DenseVector query_down_bias_, kv_down_bias_, output_bias_;  // or empty
  DenseVector query_norm_, kv_norm_;
};

}  // namespace

std::unique_ptr<LayerPart> load_latent(const LatentAttention& spec, std::int64_t layer,
                                       Loader& loader, RotaryTables& rotary) {
  return std::make_unique<LatentLayer>(spec, layer, loader, rotary);
}

}  // namespace krasis
