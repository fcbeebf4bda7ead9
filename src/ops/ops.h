// The operations a backend provides. Every model is written against this class alone; which backend
// stands behind it is decided once, in app/. Arguments are checked here, so that a backend may
// trust them and every backend rejects the same calls with the same words.
//
// Calls are queued in order and may return before the work is done; synchronize() waits for it.
// Not thread-safe: one Ops belongs to one thread at a time. Zero rows are accepted and do nothing.
//
// Every pointer in an argument is into memory(), but for the segments and their pages, which are
// the program's own. Where memory() is not the program's own, ids and positions are not read here:
// who uploads them has checked them (check_ids, check_positions).
#pragma once

#include <compare>
#include <functional>
#include <memory>
#include <string_view>

#include "ops/attention.h"
#include "ops/delta_net.h"
#include "ops/elementwise.h"
#include "ops/experts.h"
#include "ops/latent_attention.h"
#include "ops/linear.h"
#include "ops/memory.h"
#include "ops/rotary.h"
#include "ops/top_logits.h"

namespace krasis {

// What tells steps apart that do not do the same; see Ops::run_step().
struct StepKey {
  std::int64_t tokens = 0;
  std::uint64_t state = 0;
  std::int64_t best = 0;  // highest logits that are wanted of a row; 0: all

  friend auto operator<=>(const StepKey&, const StepKey&) = default;
};

class Ops {
 public:
  Ops() = default;
  Ops(const Ops&) = delete;
  Ops& operator=(const Ops&) = delete;
  virtual ~Ops() = default;

  virtual std::string_view name() const = 0;  // "reference", "cpu (avx2, 16 threads)"
  virtual void synchronize() {}

  // Outlives nothing: whatever was allocated is released before the Ops goes.
  virtual Memory& memory() { return host_memory(); }

  // The least form of `rows` rows from which a product with `weight`, or these experts, yields what
  // it yields from F32. In this step, and between begin_pass() and end_pass() in this pass.
  virtual RowForm form_for(const Matrix& weight, std::int64_t rows) const;
  virtual RowForm form_for(const ExpertMatrices& experts, std::int64_t rows,
                           std::int64_t top_k) const;

  // Must come before the first op that is given `segments`, and again when they have changed; they
  // stay as they are until then. `tokens`: rows of the step.
  virtual void begin_step(std::span<const Segment> segments, std::int64_t tokens);

  // Runs `work`, which calls ops, or repeats what it did when it was last run with this key, if
  // that is faster: who calls it promises that the same key means the same calls with the same
  // arguments, but for what memory and the segments hold. Between begin_step() and synchronize().
  virtual void run_step(const StepKey& key, const std::function<void()>& work);
  // Gives back what is kept of steps that were run.
  virtual void forget_steps() {}

  // Until end_pass(), a prompt of `tokens` goes through all layers, layer by layer: experts() is
  // called `parts` times for each sparse layer before the next. A backend may have the next layer's
  // experts on their way meanwhile. end_pass() does not throw.
  virtual void begin_pass(std::int64_t tokens, std::int64_t parts);
  virtual void end_pass() {}

  // Runs `work`, which calls ops, beside what is called until join(): it reads nothing and
  // overwrites nothing that those ops write, and the other way round. What was called before is
  // done before.
  virtual void beside(const std::function<void()>& work);
  virtual void join() {}

  void embedding(const Embedding& op);
  void rms_norm(const RmsNorm& op);
  void gated_rms_norm(const GatedRmsNorm& op);
  void add_norm(const AddNorm& op);
  void add(const Add& op);
  void copy(const Copy& op);
  void sigmoid_multiply(const SigmoidMultiply& op);
  void linear(const Linear& op);
  void head_linear(const HeadLinear& op);
  void rotary_table(const RotaryTable& op);
  void rotary(const Rotary& op);
  void kv_append(const KvAppend& op);
  void attention(const Attention& op);
  // Calls join() before it reads the cache: keys may be appended beside what comes before.
  void attention_over_latents(const AttentionOverLatents& op);
  void causal_conv(const CausalConv& op);
  void delta_gates(const DeltaGates& op);
  void delta_net(const DeltaNet& op);
  void route(const Route& op);
  void experts(const Experts& op);
  void top_logits(const TopLogits& op);

  // experts(op), then add(sum); sum.y is op.out, which holds nothing of use afterwards.
  void experts_and_add(const Experts& op, const Add& sum);
  // causal_conv(conv), join(), then delta_net(op); op's q, k and v are in conv.out, which holds
  // nothing of use afterwards.
  void conv_and_delta_net(const CausalConv& conv, const DeltaNet& op);

 protected:
  // One after the other, unless a backend has something better.
  virtual void do_experts_and_add(const Experts& op, const Add& sum);
  virtual void do_conv_and_delta_net(const CausalConv& conv, const DeltaNet& op);
  // In the absorbed form, unless a backend has another.
  virtual void do_attention_over_latents(const AttentionOverLatents& op);

 private:
  void check_experts(const Experts& op);

  virtual void do_embedding(const Embedding& op) = 0;
  virtual void do_rms_norm(const RmsNorm& op) = 0;
  virtual void do_gated_rms_norm(const GatedRmsNorm& op) = 0;
  virtual void do_add_norm(const AddNorm& op) = 0;
  virtual void do_add(const Add& op) = 0;
  virtual void do_copy(const Copy& op) = 0;
  virtual void do_sigmoid_multiply(const SigmoidMultiply& op) = 0;
  virtual void do_linear(const Linear& op) = 0;
  virtual void do_head_linear(const HeadLinear& op) = 0;
  virtual void do_rotary_table(const RotaryTable& op) = 0;
  virtual void do_rotary(const Rotary& op) = 0;
  virtual void do_kv_append(const KvAppend& op) = 0;
  virtual void do_attention(const Attention& op) = 0;
  virtual void do_causal_conv(const CausalConv& op) = 0;
  virtual void do_delta_gates(const DeltaGates& op) = 0;
  virtual void do_delta_net(const DeltaNet& op) = 0;
  virtual void do_route(const Route& op) = 0;
  virtual void do_experts(const Experts& op) = 0;
  virtual void do_top_logits(const TopLogits& op) = 0;
};

// The oracle: plain loops in double, straight from the formulae. Never used for serving.
std::unique_ptr<Ops> make_reference_ops();

}  // namespace krasis
