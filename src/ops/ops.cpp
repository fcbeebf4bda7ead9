#include "ops/ops.h"

#include "ops/check.h"

namespace krasis {
namespace {

void require_written(const char* operation, const MutableProductRows& out, Memory& memory) {
  ops_check::require(out.form == RowForm::F32 || !memory.is_host(), operation,
                     [] { return "out is not F32, and this backend writes nothing else"; });
}

void require_read(const char* operation, const ProductRows& x, RowForm least) {
  ops_check::require(x.form >= least, operation,
                     [] { return "x is in a form that this product does not read"; });
}

}  // namespace

RowForm Ops::form_for(const Matrix& /*weight*/, std::int64_t /*rows*/) const {
  return RowForm::F32;
}

RowForm Ops::form_for(const ExpertMatrices& /*experts*/, std::int64_t /*rows*/,
                      std::int64_t /*top_k*/) const {
  return RowForm::F32;
}

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
  require_written("rms_norm", op.out, memory());
  if (op.x.rows > 0) do_rms_norm(op);
}

void Ops::gated_rms_norm(const GatedRmsNorm& op) {
  check(op);
  require_written("gated_rms_norm", op.out, memory());
  if (op.x.rows > 0) do_gated_rms_norm(op);
}

void Ops::add_norm(const AddNorm& op) {
  check(op);
  require_written("add_norm", op.out, memory());
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
  require_written("sigmoid_multiply", op.out, memory());
  if (op.x.rows > 0) do_sigmoid_multiply(op);
}

void Ops::linear(const Linear& op) {
  check(op);
  require_read("linear", op.x, form_for(op.weight, op.x.rows));
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

void Ops::check_experts(const Experts& op) {
  memory().is_host() ? check(op) : check_shapes(op);
  require_read("experts", op.x, form_for(op.matrices, op.x.rows, op.top_k));
}

void Ops::experts(const Experts& op) {
  check_experts(op);
  if (op.x.rows > 0) do_experts(op);
}

void Ops::experts_and_add(const Experts& op, const Add& sum) {
  check_experts(op);
  check(sum);
  ops_check::require(sum.y.data == op.out.data, "experts_and_add",
                     [] { return "what is added is not the experts' result"; });
  if (op.x.rows > 0) do_experts_and_add(op, sum);
}

void Ops::conv_and_delta_net(const CausalConv& conv, const DeltaNet& op) {
  check(conv);
  check(op);
  if (op.q.rows > 0) do_conv_and_delta_net(conv, op);
}

void Ops::do_experts_and_add(const Experts& op, const Add& sum) {
  do_experts(op);
  do_add(sum);
}

void Ops::do_conv_and_delta_net(const CausalConv& conv, const DeltaNet& op) {
  do_causal_conv(conv);
  join();
  do_delta_net(op);
}

void Ops::top_logits(const TopLogits& op) {
  check(op);
  if (op.logits.rows > 0) do_top_logits(op);
}

}  // namespace krasis
