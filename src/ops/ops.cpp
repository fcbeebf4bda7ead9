#include "ops/ops.h"

namespace krasis {

void Ops::begin_step(std::span<const Segment> /*segments*/, std::int64_t /*tokens*/) {}

void Ops::run_step(const StepKey& /*key*/, const std::function<void()>& work) {
  work();
}

void Ops::begin_pass(std::int64_t /*tokens*/, std::int64_t /*parts*/) {}

void Ops::beside(const std::function<void()>& work) {
  work();
}

void Ops::embedding(const Embedding& op) {
  memory().is_host() ? check(op) : check_shapes(op);
  if (!op.ids.empty()) do_embedding(op);
}

void Ops::rms_norm(const RmsNorm& op) {
  check(op);
  if (op.x.rows > 0) do_rms_norm(op);
}

void Ops::gated_rms_norm(const GatedRmsNorm& op) {
  check(op);
  if (op.x.rows > 0) do_gated_rms_norm(op);
}

void Ops::add_norm(const AddNorm& op) {
  check(op);
  if (op.x.rows > 0) do_add_norm(op);
}

void Ops::add(const Add& op) {
  check(op);
  if (op.x.rows > 0) do_add(op);
}

void Ops::copy(const Copy& op) {
  check(op);
  if (op.x.rows > 0) do_copy(op);
}

void Ops::sigmoid_multiply(const SigmoidMultiply& op) {
  check(op);
  if (op.x.rows > 0) do_sigmoid_multiply(op);
}

void Ops::linear(const Linear& op) {
  check(op);
  if (op.x.rows > 0) do_linear(op);
}

void Ops::head_linear(const HeadLinear& op) {
  check(op);
  if (op.x.rows > 0) do_head_linear(op);
}

void Ops::rotary_table(const RotaryTable& op) {
  memory().is_host() ? check(op) : check_shapes(op);
  if (!op.positions.empty()) do_rotary_table(op);
}

void Ops::rotary(const Rotary& op) {
  check(op);
  if (op.x.rows > 0) do_rotary(op);
}

void Ops::kv_append(const KvAppend& op) {
  check(op);
  if (op.keys.rows > 0) do_kv_append(op);
}

void Ops::attention(const Attention& op) {
  check(op);
  if (op.queries.rows > 0) do_attention(op);
}

void Ops::attention_over_latents(const AttentionOverLatents& op) {
  check(op);
  if (op.queries.rows > 0) do_attention_over_latents(op);
}

void Ops::do_attention_over_latents(const AttentionOverLatents& op) {
  do_head_linear(absorb_queries(op));
  join();
  do_attention(attend_latents(op));
  do_head_linear(raise_values(op));
}

void Ops::causal_conv(const CausalConv& op) {
  check(op);
  if (op.x.rows > 0) do_causal_conv(op);
}

void Ops::delta_gates(const DeltaGates& op) {
  check(op);
  if (op.a.rows > 0) do_delta_gates(op);
}

void Ops::delta_net(const DeltaNet& op) {
  check(op);
  if (op.q.rows > 0) do_delta_net(op);
}

void Ops::route(const Route& op) {
  check(op);
  if (op.logits.rows > 0) do_route(op);
}

void Ops::experts(const Experts& op) {
  memory().is_host() ? check(op) : check_shapes(op);
  if (op.x.rows > 0) do_experts(op);
}

void Ops::top_logits(const TopLogits& op) {
  check(op);
  if (op.logits.rows > 0) do_top_logits(op);
}

}  // namespace krasis
