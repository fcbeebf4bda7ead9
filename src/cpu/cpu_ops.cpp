#include "cpu/cpu_ops.h"

#include <string>

#include "cpu/attention.h"
#include "cpu/delta_net.h"
#include "cpu/elementwise.h"
#include "cpu/experts.h"
#include "cpu/linear.h"
#include "cpu/tile_runner.h"
#include "cpu/top_logits.h"

namespace krasis::cpu {
namespace {

class CpuOps : public Ops {
 public:
  CpuOps(ThreadPool& pool, const VectorKernels& vectors, const TileKernels& tiles)
      : machine_{pool, vectors},
        name_("cpu (" + std::string(vectors.name) + ", tiles " + std::string(tiles.name) + ", " +
              std::to_string(pool.size()) + " threads)"),
        attention_(machine_),
        delta_net_(machine_),
        router_(machine_),
        plain_experts_(machine_),
        tiles_(pool, tiles) {}

  std::string_view name() const override { return name_; }

 private:
  void do_embedding(const Embedding& op) override { cpu::embedding(machine_, op); }
  void do_rms_norm(const RmsNorm& op) override { cpu::rms_norm(machine_, op); }
  void do_gated_rms_norm(const GatedRmsNorm& op) override { cpu::gated_rms_norm(machine_, op); }
  void do_add_norm(const AddNorm& op) override { cpu::add_norm(machine_, op); }
  void do_add(const Add& op) override { cpu::add(machine_, op); }
  void do_copy(const Copy& op) override { cpu::copy(machine_, op); }
  void do_sigmoid_multiply(const SigmoidMultiply& op) override {
    cpu::sigmoid_multiply(machine_, op);
  }
  void do_rotary_table(const RotaryTable& op) override { cpu::rotary_table(machine_, op); }
  void do_rotary(const Rotary& op) override { cpu::rotary(machine_, op); }
  void do_kv_append(const KvAppend& op) override { cpu::kv_append(machine_, op); }
  void do_attention(const Attention& op) override { attention_.run(op); }
  void do_causal_conv(const CausalConv& op) override { delta_net_.causal_conv(op); }
  void do_delta_gates(const DeltaGates& op) override { cpu::delta_gates(machine_, op); }
  void do_delta_net(const DeltaNet& op) override { delta_net_.delta_net(op); }
  void do_route(const Route& op) override { router_.run(op); }
  void do_top_logits(const TopLogits& op) override { cpu::top_logits(machine_, op); }

  void do_linear(const Linear& op) override {
    if (op.weight.format == Matrix::Format::Tiles) {
      tiles_.linear(op);
    } else {
      cpu::linear(machine_, op);
    }
  }
  void do_head_linear(const HeadLinear& op) override {
    if (op.weight.format == Matrix::Format::Tiles) {
      tiles_.head_linear(op);
    } else {
      cpu::head_linear(machine_, op);
    }
  }
  void do_experts(const Experts& op) override {
    if (op.matrices.tiled.has_value()) {
      tiles_.experts(op);
    } else {
      plain_experts_.run(op);
    }
  }

  Machine machine_;
  std::string name_;
  AttentionRunner attention_;
  DeltaNetRunner delta_net_;
  Router router_;
  PlainExperts plain_experts_;
  TileRunner tiles_;
};

}  // namespace

std::unique_ptr<Ops> make_cpu_ops(ThreadPool& pool) {
  return make_cpu_ops(pool, best_vector_kernels(), best_tile_kernels());
}

std::unique_ptr<Ops> make_cpu_ops(ThreadPool& pool, const VectorKernels& vectors,
                                  const TileKernels& tiles) {
  return std::make_unique<CpuOps>(pool, vectors, tiles);
}

}  // namespace krasis::cpu
