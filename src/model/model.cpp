#include "model/model.h"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>
#include <optional>

#include "model/layer.h"
#include "model/loader.h"
#include "model/rotary_tables.h"
#include "model/workspace.h"

namespace krasis {
namespace {

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

// Over also where the step fails.
class Pass {
 public:
  Pass(Ops& ops, std::int64_t tokens, std::int64_t parts) : ops_(ops) {
    ops.begin_pass(tokens, parts);
  }
  Pass(const Pass&) = delete;
  Pass& operator=(const Pass&) = delete;
  ~Pass() { ops_.end_pass(); }

 private:
  Ops& ops_;
};

}  // namespace

struct Model::Impl {
  struct Layer {
    DenseVector mixer_norm, ffn_norm;  // [hidden]
    std::unique_ptr<LayerPart> mixer, ffn;
  };

  Impl(const ModelDescription& description, TensorSource& source, const ExpertStore* experts,
       const DenseFormats& formats, Ops& backend, std::int64_t most_part_tokens);

  // What is wanted of the batch's logit rows: all logits, or the best.
  struct Wanted {
    MutableRows logits{};
    const BestLogits* best = nullptr;
    Observer* observer = nullptr;
  };
  void forward(const Batch& batch, const ModelState& state, const Wanted& wanted);
  struct Inputs {
    std::span<const std::int32_t> ids, positions;  // [tokens]
  };
  Inputs place(const Batch& batch);
  void reserve_constants(std::int64_t tokens);
  MutableRows embed(std::span<const std::int32_t> ids);  // [tokens, hidden]
  // How the residual stream is normed for what comes next, and in which form.
  struct Norm {
    std::span<const float> weight;
    RowForm form;
  };
  Norm mixer_norm(std::size_t layer, std::int64_t rows) const;
  Norm ffn_norm(std::size_t layer, std::int64_t rows) const;
  const Matrix& head() const;
  // hidden becomes what the layer makes of it. normed comes in as its norm for the mixer; it leaves
  // as that by next_norm, if there is one.
  void run_layer(const Step& step, std::size_t layer, MutableRows hidden,
                 MutableProductRows& normed, const std::optional<Norm>& next_norm);
  // All tokens through all layers: at once, or part by part through each layer before the next.
  // `at_the_end` comes out as the final norm of all tokens if it has rows.
  void run_whole(const Step& step, std::span<const std::int32_t> positions, MutableRows hidden,
                 MutableProductRows& at_the_end);
  void run_parts(const Step& step, std::span<const std::int32_t> positions, MutableRows hidden);
  MutableRows norm_wanted(const Step& step, Rows hidden);  // the rows whose logits are wanted
  void run_all(const Step& step, const Inputs& inputs, MutableRows logits);
  // Of `logits` in memory(), as `wanted` says.
  void hand_back(const Wanted& wanted, Rows logits, const BestLogits& best);

  ModelSpec spec;
  Ops& ops;
  std::int64_t part_tokens;
  float eps;
  RotaryTables rotary;
  DenseMatrix embedding, unembedding;  // the second unused with a tied head stored as it is
  DenseVector final_norm;              // [hidden]
  std::vector<Layer> layers;
  std::size_t dense_bytes = 0;
  Workspace workspace;

  // For every token a 0 and a 1. Outgrown ones are kept: a repeated step may still read them.
  struct Constants {
    std::int64_t tokens = 0;
    Buffer zeros, ones;
  };
  std::vector<Constants> constants;
};

Model::Impl::Impl(const ModelDescription& description, TensorSource& source,
                  const ExpertStore* experts, const DenseFormats& formats, Ops& backend,
                  std::int64_t most_part_tokens)
    : spec(description.spec),
      ops(backend),
      part_tokens(most_part_tokens),
      eps(static_cast<float>(spec.norm_eps)),
      workspace(backend.memory()) {
  check_dense_tensors(description, source);
  Loader loader(description, source, formats, backend.memory());
  embedding = loader.matrix(Role::Embedding, 0, DenseFormat::AsStored);
  if (!spec.tied_head || formats.lm_head == DenseFormat::Int8)
    unembedding = loader.matrix(spec.tied_head ? Role::Embedding : Role::Head, 0, formats.lm_head);
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

Model::Impl::Inputs Model::Impl::place(const Batch& batch) {
  if (ops.memory().is_host()) return {batch.ids, batch.positions};
  std::vector<std::int32_t> both = batch.ids;  // one copy instead of two
  both.insert(both.end(), batch.positions.begin(), batch.positions.end());
  const std::span<std::int32_t> placed = workspace.integers(std::ssize(both));
  ops.memory().upload(reinterpret_cast<std::byte*>(placed.data()), both.data(),
                      placed.size_bytes());
  return {placed.first(batch.ids.size()), placed.last(batch.ids.size())};
}

void Model::Impl::reserve_constants(std::int64_t tokens) {
  if (!constants.empty() && tokens <= constants.back().tokens) return;
  const std::int64_t before = constants.empty() ? 0 : constants.back().tokens;
  const std::vector<float> ones(static_cast<std::size_t>(std::max(tokens, 2 * before)), 1);
  Memory& memory = ops.memory();
  Constants more = {.tokens = static_cast<std::int64_t>(ones.size()),
                    .zeros = memory.allocate(ones.size() * sizeof(std::int32_t)),
                    .ones = memory.allocate(ones.size() * sizeof(float))};
  memory.upload(more.ones.data(), ones.data(), more.ones.bytes());
  constants.push_back(std::move(more));
}

MutableRows Model::Impl::embed(std::span<const std::int32_t> ids) {
  const MutableRows hidden = workspace.rows(static_cast<std::int64_t>(ids.size()), spec.hidden);
  ops.embedding({.ids = ids, .table = embedding.matrix, .out = hidden});
  return hidden;
}

Model::Impl::Norm Model::Impl::mixer_norm(std::size_t layer, std::int64_t rows) const {
  return {layers[layer].mixer_norm, layers[layer].mixer->input_form(ops, rows)};
}

Model::Impl::Norm Model::Impl::ffn_norm(std::size_t layer, std::int64_t rows) const {
  return {layers[layer].ffn_norm, layers[layer].ffn->input_form(ops, rows)};
}

const Matrix& Model::Impl::head() const {
  return unembedding.matrix.rows > 0 ? unembedding.matrix : embedding.matrix;
}

void Model::Impl::run_layer(const Step& step, std::size_t layer, MutableRows hidden,
                            MutableProductRows& normed, const std::optional<Norm>& next_norm) {
  const Workspace::Scope scope(workspace);
  const Layer& parts = layers[layer];
  const MutableRows change = workspace.rows(hidden.rows, hidden.cols);
  const auto add_norm = [&](const Norm& norm, Rows rest) {
    normed.form = norm.form;
    ops.add_norm({.x = hidden,
                  .y = change,
                  .z = rest,
                  .weight = norm.weight,
                  .eps = eps,
                  .sum = hidden,
                  .out = normed});
  };
  parts.mixer->run(step, normed, change);
  add_norm(ffn_norm(layer, hidden.rows), {});
  const MutableRows more = workspace.rows(hidden.rows, hidden.cols);
  if (next_norm) {
    const bool in_two = parts.ffn->run_in_two(step, normed, change, more);
    add_norm(*next_norm, in_two ? more : Rows{});
  } else {
    parts.ffn->run_onto(step, normed, hidden, change, more);
  }
  if (step.observer != nullptr) {
    show(step, hidden,
         [&](Rows rows) { step.observer->hidden(static_cast<std::int64_t>(layer), rows); });
  }
}

MutableRows Model::Impl::norm_wanted(const Step& step, Rows hidden) {
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
  return rows;
}

// A step in which every sequence has one token and wants its logits: the same work every time.
bool is_decode(const Batch& batch) {
  return batch.segments.size() == batch.ids.size() && batch.logit_rows.size() == batch.ids.size();
}

void Model::Impl::run_whole(const Step& step, std::span<const std::int32_t> positions,
                            MutableRows hidden, MutableProductRows& at_the_end) {
  rotary.compute(positions, ops, workspace);
  std::optional<Norm> last;
  MutableProductRows own;
  if (at_the_end.rows > 0)
    last = {final_norm, ops.form_for(head(), hidden.rows)};
  else
    own = workspace.rows(hidden.rows, hidden.cols);
  MutableProductRows& normed = at_the_end.rows > 0 ? at_the_end : own;
  const Norm first = mixer_norm(0, hidden.rows);
  normed.form = first.form;
  ops.rms_norm({.x = hidden, .weight = first.weight, .eps = eps, .out = normed});
  for (std::size_t layer = 0; layer < layers.size(); ++layer) {
    const bool is_last = layer + 1 == layers.size();
    run_layer(step, layer, hidden, normed, is_last ? last : mixer_norm(layer + 1, hidden.rows));
  }
}

void Model::Impl::run_parts(const Step& step, std::span<const std::int32_t> positions,
                            MutableRows hidden) {
  const std::vector<Batch> parts = split(step.batch, part_tokens);
  for (std::size_t layer = 0; layer < layers.size(); ++layer) {
    std::int64_t first = 0;
    for (const Batch& part : parts) {
      const Workspace::Scope scope(workspace);
      const auto count = static_cast<std::size_t>(part.tokens());
      ops.begin_step(part.segments, part.tokens());
      rotary.compute(positions.subspan(static_cast<std::size_t>(first), count), ops, workspace);
      const Step some = {.batch = part,
                         .state = step.state,
                         .ops = ops,
                         .workspace = workspace,
                         .rotary = rotary,
                         .observer = nullptr,
                         .zeros = step.zeros.first(count),
                         .ones = step.ones.first(count)};
      const MutableRows rows = hidden.slice(first, part.tokens());
      const Norm norm = mixer_norm(layer, rows.rows);
      MutableProductRows normed(workspace.rows(rows.rows, rows.cols), norm.form);
      ops.rms_norm({.x = rows, .weight = norm.weight, .eps = eps, .out = normed});
      run_layer(some, layer, rows, normed, std::nullopt);
      first += part.tokens();
    }
  }
}

void Model::Impl::run_all(const Step& step, const Inputs& inputs, MutableRows logits) {
  const MutableRows hidden = embed(inputs.ids);
  MutableProductRows normed;
  if (hidden.rows > std::ssize(step.zeros)) {
    run_parts(step, inputs.positions, hidden);
  } else {
    if (logits.rows == hidden.rows) normed = workspace.rows(hidden.rows, hidden.cols);
    run_whole(step, inputs.positions, hidden, normed);
  }
  if (logits.rows == 0) return;
  if (normed.rows == 0) normed = norm_wanted(step, hidden);
  ops.linear({.x = normed, .weight = head(), .bias = {}, .out = logits});
}

// Ends with synchronize(), which says whether the step's results are worth something.
void Model::Impl::hand_back(const Wanted& wanted, Rows logits, const BestLogits& best) {
  Memory& memory = ops.memory();
  if (memory.is_host() || logits.rows == 0) return ops.synchronize();
  const auto download = [&](auto* to, const auto* from, std::size_t count) {
    memory.download(to, reinterpret_cast<const std::byte*>(from), count * sizeof(*to));
  };
  if (wanted.best == nullptr) {
    for (std::int64_t row = 0; row < logits.rows; ++row)
      download(wanted.logits.row(row), logits.row(row), static_cast<std::size_t>(spec.vocab));
    return ops.synchronize();
  }
  // Ids and values lie behind one another: one copy instead of two.
  std::vector<std::int32_t> both(2 * best.ids.size());
  download(both.data(), best.ids.data(), both.size());
  std::copy_n(both.begin(), best.ids.size(), wanted.best->ids.begin());
  std::memcpy(wanted.best->values.data(), both.data() + best.ids.size(), best.values.size_bytes());
  ops.synchronize();
}

void Model::Impl::forward(const Batch& batch, const ModelState& state, const Wanted& wanted) {
  const Workspace::Scope scope(workspace);
  const std::int64_t tokens = batch.tokens();
  const auto rows = static_cast<std::int64_t>(batch.logit_rows.size());
  Observer* const observer = wanted.observer;
  const std::int64_t parts = observer != nullptr ? 1 : (tokens + part_tokens - 1) / part_tokens;
  const std::int64_t most = parts == 1 ? tokens : part_tokens;
  reserve_constants(most);
  ops.begin_step(batch.segments, tokens);
  const Inputs inputs = place(batch);
  const auto count = static_cast<std::size_t>(most);
  const Step step = {.batch = batch,
                     .state = state,
                     .ops = ops,
                     .workspace = workspace,
                     .rotary = rotary,
                     .observer = observer,
                     .zeros = {constants.back().zeros.as<std::int32_t>(), count},
                     .ones = {constants.back().ones.as<float>(), count}};
  const bool is_host = ops.memory().is_host();
  const MutableRows logits =
      is_host && wanted.best == nullptr ? wanted.logits : workspace.rows(rows, spec.vocab);
  BestLogits best = wanted.best == nullptr ? BestLogits{} : *wanted.best;
  if (!is_host && wanted.best != nullptr) {
    const std::size_t places = best.ids.size();
    best.ids = workspace.integers(2 * static_cast<std::int64_t>(places)).first(places);
    best.values = {reinterpret_cast<float*>(best.ids.data() + places), places};
  }
  const auto work = [&] {
    run_all(step, inputs, logits.slice(0, rows));
    if (wanted.best == nullptr) return;
    ops.top_logits({.logits = logits, .count = best.count, .ids = best.ids, .values = best.values});
  };
  if (is_decode(batch) && parts == 1 && observer == nullptr) {
    ops.run_step({.tokens = tokens, .state = state.identity(), .best = best.count}, work);
  } else {
    const Pass pass(ops, tokens, parts);
    work();
  }
  hand_back(wanted, logits, best);
}

Model::Model(const ModelDescription& description, TensorSource& source, const ExpertStore* experts,
             const DenseFormats& formats, Ops& ops, std::int64_t part_tokens)
    : impl_(std::make_unique<Impl>(description, source, experts, formats, ops, part_tokens)) {}

Model::~Model() = default;

const ModelSpec& Model::spec() const {
  return impl_->spec;
}

std::size_t Model::dense_bytes() const {
  return impl_->dense_bytes;
}

Memory& Model::memory() const {
  return impl_->ops.memory();
}

void Model::reserve(std::size_t bytes) {
  impl_->reserve_constants(impl_->part_tokens);
  const auto constants = static_cast<std::size_t>(impl_->part_tokens) * 2 * sizeof(float);
  impl_->workspace.reserve(bytes - std::min(bytes, constants));
}

std::size_t Model::workspace_bytes() const {
  std::size_t bytes = impl_->workspace.bytes();
  for (const Impl::Constants& some : impl_->constants)
    bytes += some.zeros.bytes() + some.ones.bytes();
  return bytes;
}

void Model::forget_steps() {
  impl_->ops.forget_steps();
}

std::int64_t Model::part_tokens() const {
  return impl_->part_tokens;
}

void Model::set_part_tokens(std::int64_t tokens) {
  ensure(tokens >= 1, "model: parts of no tokens");
  impl_->part_tokens = tokens;
}

void Model::forward(const Batch& batch, ModelState& state, MutableRows logits, Observer* observer) {
  check(batch, state.size());
  const auto wanted = static_cast<std::int64_t>(batch.logit_rows.size());
  if (wanted > 0 && (logits.rows != wanted || logits.cols != impl_->spec.vocab)) {
    throw Error(ErrorCode::InvalidArgument,
                fmt::format("model: logits [{}, {}] are not [{}, {}]", logits.rows, logits.cols,
                            wanted, impl_->spec.vocab));
  }
  check_ids("embedding", batch.ids, impl_->spec.vocab);
  if (batch.tokens() > 0)
    impl_->forward(batch, state, {.logits = logits, .best = nullptr, .observer = observer});
}

void Model::forward_best(const Batch& batch, ModelState& state, const BestLogits& best) {
  check(batch, state.size());
  check_ids("embedding", batch.ids, impl_->spec.vocab);
  if (batch.tokens() > 0)
    impl_->forward(batch, state, {.logits = {}, .best = &best, .observer = nullptr});
}

}  // namespace krasis
