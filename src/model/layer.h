// The parts of a layer: what mixes tokens, and what works on each token alone. One file each.
#pragma once

#include <memory>

#include "arch/model_spec.h"
#include "model/batch.h"
#include "model/loader.h"
#include "model/model.h"
#include "model/rotary_tables.h"
#include "model/state.h"
#include "model/workspace.h"
#include "ops/ops.h"

namespace krasis {

// What one step hands to every layer.
struct Step {
  const Batch& batch;
  const ModelState& state;
  Ops& ops;
  Workspace& workspace;
  const RotaryTables& rotary;
  Observer* observer;                   // may be null
  std::span<const std::int32_t> zeros;  // [tokens]
  std::span<const float> ones;          // [tokens]
};

// Calls observe(rows) with the rows in the program's own memory, after what the ops queued before.
template <class Observe>
void show(const Step& step, Rows rows, Observe&& observe) {
  if (step.ops.memory().is_host()) {
    step.ops.synchronize();
    observe(rows);
    return;
  }
  ensure(rows.stride == rows.cols, "model: rows that are shown must be contiguous");
  std::vector<float> copy(static_cast<std::size_t>(rows.rows * rows.cols));
  step.ops.memory().download(copy.data(), reinterpret_cast<const std::byte*>(rows.data),
                             copy.size() * sizeof(float));
  observe(Rows(copy.data(), rows.rows, rows.cols));
}

// x and out are [tokens, hidden] and do not overlap; x is already normed, in a form no less than
// input_form(); out does not yet contain the residual.
class LayerPart {
 public:
  LayerPart() = default;
  LayerPart(const LayerPart&) = delete;
  LayerPart& operator=(const LayerPart&) = delete;
  virtual ~LayerPart() = default;

  virtual void run(const Step& step, const ProductRows& x, MutableRows out) const = 0;

  // The least form of x with `rows` rows.
  virtual RowForm input_form(const Ops& /*ops*/, std::int64_t /*rows*/) const {
    return RowForm::F32;
  }

  // As run(), or with the result in two pieces, out + rest: true then. Who adds it to the residual
  // stream can add both at once.
  virtual bool run_in_two(const Step& step, const ProductRows& x, MutableRows out,
                          MutableRows /*rest*/) const {
    run(step, x, out);
    return false;
  }

  // The result is added to `hidden`; `out` and `rest` hold nothing of use afterwards.
  virtual void run_onto(const Step& step, const ProductRows& x, MutableRows hidden, MutableRows out,
                        MutableRows rest) const {
    const Rows more = run_in_two(step, x, out, rest) ? rest : Rows{};
    step.ops.add({.x = hidden, .y = out, .z = more, .out = hidden});
  }
};

// Load the part of layer number `layer`. `rotary` collects the tables that it will ask for.
std::unique_ptr<LayerPart> load_grouped_query(const GroupedQueryAttention& spec, std::int64_t layer,
                                              Loader& loader, RotaryTables& rotary);
std::unique_ptr<LayerPart> load_latent(const LatentAttention& spec, std::int64_t layer,
                                       Loader& loader, RotaryTables& rotary);
std::unique_ptr<LayerPart> load_delta_net(const GatedDeltaNet& spec, std::int64_t layer,
                                          Loader& loader);
std::unique_ptr<LayerPart> load_dense_ffn(const DenseFfn& spec, std::int64_t layer, Loader& loader);
// experts: of that layer; views that outlive the part.
std::unique_ptr<LayerPart> load_sparse_ffn(const SparseFfn& spec, std::int64_t layer,
                                           Loader& loader, const ExpertMatrices& experts);

}  // namespace krasis
