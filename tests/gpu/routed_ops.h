// Operations of a backend that write down which experts tokens get, or give them those of another
// run: where the best experts are nearly as good as the next ones rounding alone decides, and two
// runs can only be compared number by number if they decide the same.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "ops/ops.h"

namespace krasis::test {

// The experts of tokens, in every sparse layer.
class Routes {
 public:
  struct Layer {
    std::size_t top_k = 0;
    std::vector<std::int32_t> ids;  // [tokens, top_k]
    std::vector<float> weights;     // [tokens, top_k]
  };

  Routes slice(std::size_t first, std::size_t count) const {
    Routes some;
    for (const Layer& layer : layers) {
      const auto part = [&](const auto& all) {
        const auto begin = all.begin() + static_cast<std::ptrdiff_t>(first * layer.top_k);
        return std::decay_t<decltype(all)>(
            begin, begin + static_cast<std::ptrdiff_t>(count * layer.top_k));
      };
      some.layers.push_back({layer.top_k, part(layer.ids), part(layer.weights)});
    }
    return some;
  }
  void append(const Routes& more) {
    layers.resize(more.layers.size());
    for (std::size_t i = 0; i < layers.size(); ++i) {
      const Layer& from = more.layers[i];
      layers[i].top_k = from.top_k;
      layers[i].ids.insert(layers[i].ids.end(), from.ids.begin(), from.ids.end());
      layers[i].weights.insert(layers[i].weights.end(), from.weights.begin(), from.weights.end());
    }
  }

  std::vector<Layer> layers;
};

class RoutedOps final : public Ops {
 public:
  explicit RoutedOps(Ops& ops) : ops_(ops) {}

  // From here on the tokens' experts are written down (in the program's own memory only) ...
  void record() { start({}, false); }
  // ... and what was.
  const Routes& recorded() const { return routes_; }
  // From here on the first token gets the first experts of `routes`, and so on.
  void give(Routes routes) { start(std::move(routes), true); }

  std::string_view name() const override { return ops_.name(); }
  void synchronize() override { ops_.synchronize(); }
  Memory& memory() override { return ops_.memory(); }
  void begin_step(std::span<const Segment> segments, std::int64_t tokens) override {
    ops_.begin_step(segments, tokens);
    layer_ = 0;
  }
  RowForm form_for(const Matrix& weight, std::int64_t rows) const override {
    return ops_.form_for(weight, rows);
  }
  RowForm form_for(const ExpertMatrices& experts, std::int64_t rows,
                   std::int64_t top_k) const override {
    return ops_.form_for(experts, rows, top_k);
  }
  void begin_pass(std::int64_t tokens, std::int64_t parts) override {
    ops_.begin_pass(tokens, parts);
  }
  void end_pass() override { ops_.end_pass(); }
  void beside(const std::function<void()>& work) override { ops_.beside(work); }
  void join() override { ops_.join(); }

 private:
  void start(Routes routes, bool given) {
    routes_ = std::move(routes);
    given_ = given;
    used_.assign(routes_.layers.size(), 0);
  }

  void do_route(const Route& op) override {
    const std::size_t index = layer_++;
    if (!given_) {
      ops_.route(op);
      routes_.layers.resize(std::max(routes_.layers.size(), layer_));
      Routes::Layer& layer = routes_.layers[index];
      layer.top_k = static_cast<std::size_t>(op.routing.top_k);
      layer.ids.insert(layer.ids.end(), op.ids.begin(), op.ids.end());
      layer.weights.insert(layer.weights.end(), op.weights.begin(), op.weights.end());
      return;
    }
    const Routes::Layer& layer = routes_.layers.at(index);
    std::size_t& used = used_[index];
    ensure(used + op.ids.size() <= layer.ids.size(), "routed_ops: more tokens than were given");
    memory().upload(reinterpret_cast<std::byte*>(op.ids.data()), layer.ids.data() + used,
                    op.ids.size_bytes());
    memory().upload(reinterpret_cast<std::byte*>(op.weights.data()), layer.weights.data() + used,
                    op.weights.size_bytes());
    used += op.ids.size();
  }

  void do_embedding(const Embedding& op) override { ops_.embedding(op); }
  void do_rms_norm(const RmsNorm& op) override { ops_.rms_norm(op); }
  void do_gated_rms_norm(const GatedRmsNorm& op) override { ops_.gated_rms_norm(op); }
  void do_add_norm(const AddNorm& op) override { ops_.add_norm(op); }
  void do_add(const Add& op) override { ops_.add(op); }
  void do_copy(const Copy& op) override { ops_.copy(op); }
  void do_sigmoid_multiply(const SigmoidMultiply& op) override { ops_.sigmoid_multiply(op); }
  void do_linear(const Linear& op) override { ops_.linear(op); }
  void do_head_linear(const HeadLinear& op) override { ops_.head_linear(op); }
  void do_rotary_table(const RotaryTable& op) override { ops_.rotary_table(op); }
  void do_rotary(const Rotary& op) override { ops_.rotary(op); }
  void do_kv_append(const KvAppend& op) override { ops_.kv_append(op); }
  void do_attention(const Attention& op) override { ops_.attention(op); }
  void do_attention_over_latents(const AttentionOverLatents& op) override {
    ops_.attention_over_latents(op);
  }
  void do_causal_conv(const CausalConv& op) override { ops_.causal_conv(op); }
  void do_delta_gates(const DeltaGates& op) override { ops_.delta_gates(op); }
  void do_delta_net(const DeltaNet& op) override { ops_.delta_net(op); }
  void do_experts(const Experts& op) override { ops_.experts(op); }
  void do_top_logits(const TopLogits& op) override { ops_.top_logits(op); }
  void do_experts_and_add(const Experts& op, const Add& sum) override {
    ops_.experts_and_add(op, sum);
  }
  void do_conv_and_delta_net(const CausalConv& conv, const DeltaNet& op) override {
    ops_.conv_and_delta_net(conv, op);
  }

  Ops& ops_;
  Routes routes_;
  bool given_ = false;
  std::size_t layer_ = 0;          // of the step under way
  std::vector<std::size_t> used_;  // ids of each layer
};

}  // namespace krasis::test
