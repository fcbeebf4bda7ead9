#include "model/model.h"

#include <fmt/format.h>

#include "model/layer.h"
#include "model/loader.h"
#include "model/rotary_tables.h"
#include "model/workspace.h"

namespace krasis {
namespace {

struct Layer {
  std::vector<float> mixer_norm, ffn_norm;  // [hidden]
  std::unique_ptr<LayerPart> mixer, ffn;
};

std::unique_ptr<LayerPart> load_mixer(const Mixer& mixer, std::int64_t layer, Loader& loader,
                                      RotaryTables& rotary) {
  if (const auto* grouped = std::get_if<GroupedQueryAttention>(&mixer))
    return load_grouped_query(*grouped, layer, loader, rotary);
  if (const auto* latent = std::get_if<LatentAttention>(&mixer))
    return load_latent(*latent, layer, loader, rotary);
  return load_delta_net(std::get<GatedDeltaNet>(mixer), layer, loader);
}

std::unique_ptr<LayerPart> load_ffn(const Ffn& ffn, std::int64_t layer, Loader& loader,
                                    const ExpertStore* experts) {
  if (const auto* dense = std::get_if<DenseFfn>(&ffn)) return load_dense_ffn(*dense, layer, loader);
  if (experts == nullptr) {
    throw Error(
        ErrorCode::InvalidArgument,
        fmt::format("model: layer {} has routed experts, but no experts were given", layer));
  }
  return load_sparse_ffn(std::get<SparseFfn>(ffn), layer, loader, experts->layer(layer));
}

}  // namespace

struct Model::Impl {
  Impl(const ModelDescription& description, TensorSource& source, const ExpertStore* experts,
       const DenseFormats& formats, Ops& backend);

  MutableRows embed(const Step& step);                                       // [tokens, hidden]
  void run_layer(const Step& step, std::int64_t layer, MutableRows hidden);  // in place
  void head(const Step& step, Rows hidden, MutableRows logits);

  ModelSpec spec;
  Ops& ops;
  float eps;
  RotaryTables rotary;
  DenseMatrix embedding, unembedding;  // the second unused with a tied head stored as it is
  std::vector<float> final_norm;       // [hidden]
  std::vector<Layer> layers;
  std::size_t dense_bytes = 0;
  Workspace workspace;
};

Model::Impl::Impl(const ModelDescription& description, TensorSource& source,
                  const ExpertStore* experts, const DenseFormats& formats, Ops& backend)
    : spec(description.spec), ops(backend), eps(static_cast<float>(spec.norm_eps)) {
  check_dense_tensors(description, source);
  Loader loader(description, source, formats);
  embedding = loader.matrix(Role::Embedding, 0, DenseFormat::AsStored);
  const Role head_role = spec.tied_head ? Role::Embedding : Role::Head;
  unembedding = loader.matrix(head_role, 0, formats.lm_head);
  final_norm = loader.norm(Role::FinalNorm);
  for (std::size_t i = 0; i < spec.layers.size(); ++i) {
    const auto number = static_cast<std::int64_t>(i);
    const LayerSpec& parts = spec.layers[i];
    layers.push_back({.mixer_norm = loader.norm(Role::MixerNorm, number),
                      .ffn_norm = loader.norm(Role::FfnNorm, number),
                      .mixer = load_mixer(parts.mixer, number, loader, rotary),
                      .ffn = load_ffn(parts.ffn, number, loader, experts)});
  }
  dense_bytes = loader.owned_bytes();
}

MutableRows Model::Impl::embed(const Step& step) {
  const MutableRows hidden = workspace.rows(step.batch.tokens(), spec.hidden);
  ops.embedding({.ids = step.batch.ids, .table = embedding.matrix, .out = hidden});
  return hidden;
}

void Model::Impl::run_layer(const Step& step, std::int64_t layer, MutableRows hidden) {
  const Workspace::Scope scope(workspace);
  const Layer& parts = layers[static_cast<std::size_t>(layer)];
  const MutableRows normed = workspace.rows(hidden.rows, hidden.cols);
  const MutableRows change = workspace.rows(hidden.rows, hidden.cols);
  ops.rms_norm({.x = hidden, .weight = parts.mixer_norm, .eps = eps, .out = normed});
  parts.mixer->run(step, normed, change);
  ops.add({.x = hidden, .y = change, .out = hidden});
  ops.rms_norm({.x = hidden, .weight = parts.ffn_norm, .eps = eps, .out = normed});
  parts.ffn->run(step, normed, change);
  ops.add({.x = hidden, .y = change, .out = hidden});
  if (step.observer == nullptr) return;
  ops.synchronize();
  step.observer->hidden(layer, hidden);
}

void Model::Impl::head(const Step& step, Rows hidden, MutableRows logits) {
  const Workspace::Scope scope(workspace);
  const std::vector<std::int32_t>& wanted = step.batch.logit_rows;
  const MutableRows rows = workspace.rows(static_cast<std::int64_t>(wanted.size()), spec.hidden);
  for (std::size_t first = 0; first < wanted.size();) {  // runs of rows next to each other
    std::size_t last = first + 1;
    while (last < wanted.size() && wanted[last] == wanted[last - 1] + 1) ++last;
    const auto count = static_cast<std::int64_t>(last - first);
    ops.copy({.x = hidden.slice(wanted[first], count),
              .out = rows.slice(static_cast<std::int64_t>(first), count)});
    first = last;
  }
  ops.rms_norm({.x = rows, .weight = final_norm, .eps = eps, .out = rows});
  ops.linear({.x = rows, .weight = unembedding.matrix, .bias = {}, .out = logits});
}

Model::Model(const ModelDescription& description, TensorSource& source, const ExpertStore* experts,
             const DenseFormats& formats, Ops& ops)
    : impl_(std::make_unique<Impl>(description, source, experts, formats, ops)) {}

Model::~Model() = default;

const ModelSpec& Model::spec() const {
  return impl_->spec;
}

std::size_t Model::dense_bytes() const {
  return impl_->dense_bytes;
}

void Model::forward(const Batch& batch, ModelState& state, MutableRows logits, Observer* observer) {
  check(batch, state.size());
  const auto wanted = static_cast<std::int64_t>(batch.logit_rows.size());
  if (wanted > 0 && (logits.rows != wanted || logits.cols != impl_->spec.vocab)) {
    throw Error(ErrorCode::InvalidArgument,
                fmt::format("model: logits [{}, {}] are not [{}, {}]", logits.rows, logits.cols,
                            wanted, impl_->spec.vocab));
  }
  if (batch.tokens() == 0) return;
  const Workspace::Scope scope(impl_->workspace);
  impl_->rotary.compute(batch.positions, impl_->ops, impl_->workspace);
  const Step step = {.batch = batch,
                     .state = state,
                     .ops = impl_->ops,
                     .workspace = impl_->workspace,
                     .rotary = impl_->rotary,
                     .observer = observer};
  const MutableRows hidden = impl_->embed(step);
  for (std::size_t layer = 0; layer < impl_->layers.size(); ++layer)
    impl_->run_layer(step, static_cast<std::int64_t>(layer), hidden);
  if (wanted > 0) impl_->head(step, hidden, logits);
  impl_->ops.synchronize();
}

}  // namespace krasis
