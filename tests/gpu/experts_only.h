// Ops that pass experts() on to others and watch, or stop, them. No other op is called.
#pragma once

#include <functional>
#include <utility>

#include "base/error.h"
#include "ops/ops.h"

namespace krasis::test {

class ExpertsOnly final : public Ops {
 public:
  // experts(op) is called for each op, and calls inner.experts(op) or does something else.
  ExpertsOnly(Ops& inner, std::function<void(Ops& inner, const Experts& op)> experts)
      : inner_(inner), experts_(std::move(experts)) {}

  std::string_view name() const override { return inner_.name(); }

 private:
  void do_embedding(const Embedding& /*op*/) override { refuse(); }
  void do_rms_norm(const RmsNorm& /*op*/) override { refuse(); }
  void do_gated_rms_norm(const GatedRmsNorm& /*op*/) override { refuse(); }
  void do_add_norm(const AddNorm& /*op*/) override { refuse(); }
  void do_add(const Add& /*op*/) override { refuse(); }
  void do_copy(const Copy& /*op*/) override { refuse(); }
  void do_sigmoid_multiply(const SigmoidMultiply& /*op*/) override { refuse(); }
  void do_linear(const Linear& /*op*/) override { refuse(); }
  void do_head_linear(const HeadLinear& /*op*/) override { refuse(); }
  void do_rotary_table(const RotaryTable& /*op*/) override { refuse(); }
  void do_rotary(const Rotary& /*op*/) override { refuse(); }
  void do_kv_append(const KvAppend& /*op*/) override { refuse(); }
  void do_attention(const Attention& /*op*/) override { refuse(); }
  void do_causal_conv(const CausalConv& /*op*/) override { refuse(); }
  void do_delta_gates(const DeltaGates& /*op*/) override { refuse(); }
  void do_delta_net(const DeltaNet& /*op*/) override { refuse(); }
  void do_route(const Route& /*op*/) override { refuse(); }
  void do_experts(const Experts& op) override { experts_(inner_, op); }
  void do_top_logits(const TopLogits& /*op*/) override { refuse(); }

  static void refuse() { ensure(false, "test: only experts are computed here"); }

  Ops& inner_;
  std::function<void(Ops&, const Experts&)> experts_;
};

}  // namespace krasis::test
