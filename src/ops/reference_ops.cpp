#include "ops/reference.h"

namespace krasis {
namespace {

class ReferenceOps : public Ops {
 public:
  std::string_view name() const override { return "reference"; }

 private:
  void do_embedding(const Embedding& op) override { reference::embedding(op); }
  void do_rms_norm(const RmsNorm& op) override { reference::rms_norm(op); }
  void do_gated_rms_norm(const GatedRmsNorm& op) override { reference::gated_rms_norm(op); }
  void do_add_norm(const AddNorm& op) override { reference::add_norm(op); }
  void do_add(const Add& op) override { reference::add(op); }
  void do_copy(const Copy& op) override { reference::copy(op); }
  void do_sigmoid_multiply(const SigmoidMultiply& op) override { reference::sigmoid_multiply(op); }
  void do_linear(const Linear& op) override { reference::linear(op); }
  void do_head_linear(const HeadLinear& op) override { reference::head_linear(op); }
  void do_rotary_table(const RotaryTable& op) override { reference::rotary_table(op); }
  void do_rotary(const Rotary& op) override { reference::rotary(op); }
  void do_kv_append(const KvAppend& op) override { reference::kv_append(op); }
  void do_attention(const Attention& op) override { reference::attention(op); }
  void do_attention_over_latents(const AttentionOverLatents& op) override {
    // Products with tiles are defined by what is rounded before them, hence by the form.
    if (op.key_up.tiles || op.value_up.tiles) return Ops::do_attention_over_latents(op);
    reference::attention_over_latents(op);
  }
  void do_causal_conv(const CausalConv& op) override { reference::causal_conv(op); }
  void do_delta_gates(const DeltaGates& op) override { reference::delta_gates(op); }
  void do_delta_net(const DeltaNet& op) override { reference::delta_net(op); }
  void do_route(const Route& op) override { reference::route(op); }
  void do_experts(const Experts& op) override { reference::experts(op); }
  void do_top_logits(const TopLogits& op) override { reference::top_logits(op); }
};

}  // namespace

std::unique_ptr<Ops> make_reference_ops() {
  return std::make_unique<ReferenceOps>();
}

}  // namespace krasis
