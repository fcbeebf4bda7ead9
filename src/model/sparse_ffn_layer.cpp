#include <algorithm>
#include <optional>

#include "model/one_expert.h"

namespace krasis {
namespace {

class SparseFfnLayer final : public LayerPart {
 public:
  SparseFfnLayer(const SparseFfn& spec, std::int64_t layer, Loader& loader,
                 const ExpertMatrices& experts)
      : spec_(spec), layer_(layer), experts_(experts) {
    // Small, and it decides where tokens go: never quantized.
    router_ = loader.matrix(Role::Router, layer, DenseFormat::AsStored);
    router_bias_ = loader.vector_if(Role::RouterBias, layer);
    if (spec.shared_intermediate == 0) return;
    shared_.emplace(OneExpert::Weights{loader.tensor(Role::SharedGate, layer),
                                       loader.tensor(Role::SharedUp, layer),
                                       loader.tensor(Role::SharedDown, layer)},
                    layer, loader.formats().shared_expert, loader);
    if (spec.shared_gate)
      shared_gate_ = loader.matrix(Role::SharedExpertGate, layer, DenseFormat::AsStored);
  }

  void run(const Step& step, const ProductRows& x, MutableRows out) const override {
    const Workspace::Scope scope(step.workspace);
    const MutableRows shared = shared_ ? step.workspace.rows(x.rows, x.cols) : MutableRows{};
    if (run_in_two(step, x, out, shared)) step.ops.add({.x = out, .y = shared, .out = out});
  }

  RowForm input_form(const Ops& ops, std::int64_t rows) const override {
    const RowForm shared = shared_ ? shared_->input_form(ops, rows) : RowForm::High;
    const RowForm gate =
        spec_.shared_gate ? ops.form_for(shared_gate_.matrix, rows) : RowForm::High;
    return std::max({ops.form_for(experts_, rows, spec_.routing.top_k),
                     ops.form_for(router_.matrix, rows), shared, gate});
  }

  bool run_in_two(const Step& step, const ProductRows& x, MutableRows out,
                  MutableRows shared) const override {
    run_with(step, x, shared, [&](Experts op) {
      op.out = out;
      step.ops.experts(op);
    });
    step.ops.join();
    return shared_.has_value();
  }

  void run_onto(const Step& step, const ProductRows& x, MutableRows hidden, MutableRows out,
                MutableRows shared) const override {
    run_with(step, x, shared, [&](Experts op) {
      op.out = out;
      step.ops.join();
      step.ops.experts_and_add(
          op, {.x = hidden, .y = out, .z = shared_ ? shared : Rows{}, .out = hidden});
    });
  }

 private:
  // use(op): all but the result of the routed experts.
  template <class Use>
  void run_with(const Step& step, const ProductRows& x, MutableRows shared, Use&& use) const {
    const Workspace::Scope scope(step.workspace);
    const Routing& routing = spec_.routing;
    if (shared_) step.ops.beside([&] { run_shared(step, x, shared); });
    const MutableRows logits = step.workspace.rows(x.rows, routing.experts);
    step.ops.linear({.x = x, .weight = router_.matrix, .bias = {}, .out = logits});
    if (step.observer != nullptr)
      show(step, logits, [&](Rows rows) { step.observer->router_logits(layer_, rows); });
    const std::span<std::int32_t> ids = step.workspace.integers(x.rows * routing.top_k);
    const std::span<float> weights(step.workspace.rows(x.rows, routing.top_k).data, ids.size());
    step.ops.route({.logits = logits,
                    .bias = router_bias_,
                    .routing = routing,
                    .ids = ids,
                    .weights = weights});
    use({.x = x,
         .ids = ids,
         .weights = weights,
         .top_k = routing.top_k,
         .matrices = experts_,
         .out = {}});
  }

  void run_shared(const Step& step, const ProductRows& x, MutableRows out) const {
    if (!spec_.shared_gate) return shared_->run(step, x, step.ones, out);
    const MutableRows gate = step.workspace.rows(x.rows, 1);
    const MutableRows weights = step.workspace.rows(x.rows, 1);
    step.ops.linear({.x = x, .weight = shared_gate_.matrix, .bias = {}, .out = gate});
    step.ops.sigmoid_multiply(
        {.x = Rows(step.ones.data(), x.rows, 1), .gate = gate, .out = weights});
    shared_->run(step, x, {weights.data, static_cast<std::size_t>(x.rows)}, out);
  }

  SparseFfn spec_;
  std::int64_t layer_;
  ExpertMatrices experts_;
  DenseMatrix router_;               // [experts, hidden]
  DenseVector router_bias_;          // [experts], or empty
  std::optional<OneExpert> shared_;  // all shared experts as one
  DenseMatrix shared_gate_;          // [1, hidden], or unused
};

}  // namespace

std::unique_ptr<LayerPart> load_sparse_ffn(const SparseFfn& spec, std::int64_t layer,
                                           Loader& loader, const ExpertMatrices& experts) {
  return std::make_unique<SparseFfnLayer>(spec, layer, loader, experts);
}

}  // namespace krasis
