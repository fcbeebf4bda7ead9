// The operations on one device. Weights stay in the type that they were stored in; activations are
// F32 between ops and are rounded to 16 bits only inside an op that uses tensor cores.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <string>

#include "cuda/cublaslt.h"
#include "cuda/device_memory.h"
#include "cuda/devices.h"
#include "cuda/launch.h"
#include "cuda/placed_experts.h"
#include "cuda/runtime.h"
#include "cuda/step_graphs.h"
#include "cuda/step_tables.h"
#include "ops/ops.h"

namespace krasis::cuda {

class CudaOps final : public Ops {
 public:
  // `device` can be used (list_devices()).
  CudaOps(const Device& device, const DeviceOptions& options);
  ~CudaOps() override;

  std::string_view name() const override { return name_; }
  void synchronize() override;
  Memory& memory() override { return memory_; }
  RowForm form_for(const Matrix& weight, std::int64_t rows) const override;
  RowForm form_for(const ExpertMatrices& experts, std::int64_t rows,
                   std::int64_t top_k) const override;
  void begin_step(std::span<const Segment> segments, std::int64_t tokens) override;
  void run_step(const StepKey& key, const std::function<void()>& work) override;
  void forget_steps() override;
  void beside(const std::function<void()>& work) override;
  void join() override;
  void begin_pass(std::int64_t tokens, std::int64_t parts) override;
  void end_pass() override;

  // As place_experts() in cuda/devices.h.
  std::span<const ExpertMatrices> place_experts(std::span<const ExpertMatrices> layers,
                                                const ExpertPlacement& placement, Ops& processor);
  PlacedExperts& placed() const;  // once that was called
  std::vector<LayerTimes> pass_times() const;
  std::vector<WayTimes> way_times() const;
  DecodePairs decode_pairs() const;
  DecodeTimes decode_times() const;

 private:
  void do_embedding(const Embedding& op) override;
  void do_rms_norm(const RmsNorm& op) override;
  void do_gated_rms_norm(const GatedRmsNorm& op) override;
  void do_add_norm(const AddNorm& op) override;
  void do_add(const Add& op) override;
  void do_copy(const Copy& op) override;
  void do_sigmoid_multiply(const SigmoidMultiply& op) override;
  void do_linear(const Linear& op) override;
  void do_head_linear(const HeadLinear& op) override;
  void do_rotary_table(const RotaryTable& op) override;
  void do_rotary(const Rotary& op) override;
  void do_kv_append(const KvAppend& op) override;
  void do_attention(const Attention& op) override;
  void do_attention_over_latents(const AttentionOverLatents& op) override;
  void do_causal_conv(const CausalConv& op) override;
  void do_delta_gates(const DeltaGates& op) override;
  void do_delta_net(const DeltaNet& op) override;
  void do_route(const Route& op) override;
  void do_experts(const Experts& op) override;
  void do_top_logits(const TopLogits& op) override;
  void do_experts_and_add(const Experts& op, const Add& sum) override;
  void do_conv_and_delta_net(const CausalConv& conv, const DeltaNet& op) override;
  void run_experts(const Experts& op, const Add* sum);

  // A queue of work and the scratch memory of its ops.
  struct Lane {
    const Stream* stream;
    Scratch scratch;
  };

  // In the current lane, with all its scratch memory free.
  Launch fresh_launch();
  // That begin_step() was given these.
  void check_segments(std::span<const Segment> segments) const;
  // Runs kernel(op, fresh_launch()).
  template <class Op>
  void run(void (*kernel)(const Op&, const Launch&), const Op& op);
  // The same for an op on the segments that begin_step() was given.
  template <class Op>
  void run_segments(void (*kernel)(const Op&, const Launch&), const Op& op);

  std::string name_;
  int device_;
  DeviceProperties properties_;
  Stream stream_;
  std::unique_ptr<CublasLt> cublas_;  // nullptr: not there, own kernels do its work
  DeviceMemory memory_;
  Buffer scratch_memory_, side_scratch_memory_;
  Lane main_;
  Lane* lane_ = &main_;
  // Beside the main one, in the order that they are taken.
  struct SideLane {
    Stream stream;
    Event forked, joined;
    Lane lane{};
    bool pending = false;  // the main lane has not waited for its work
  };
  std::array<SideLane, 2> sides_;
  ExpertCopies::Pinning pinning_;
  StepTableWriter table_writer_;
  StepPlan plan_;
  StepTables tables_;
  std::span<const Segment> segments_;  // that the tables are of
  StepGraphs graphs_;
  std::unique_ptr<PlacedExperts> placed_;  // nullptr: all experts are in memory()
};

}  // namespace krasis::cuda
