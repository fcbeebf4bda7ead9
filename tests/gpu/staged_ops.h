// A device's operations for arguments in the program's own memory: each call copies its operands to
// the device, runs there and copies back what was written, so that tests of ops need not know where
// they run.
#pragma once

#include <algorithm>
#include <functional>
#include <vector>

#include "ops/ops.h"

namespace krasis::test {

// The operands of one call. What overlaps or touches on the host does so on the device, and every
// address keeps its alignment.
class Stage {
 public:
  explicit Stage(Memory& memory) : memory_(memory) {}
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;

  // Until run() the pointers are the host's; while it runs its work, the device's.
  template <class T>
  void use(T*& pointer, std::size_t count) {
    if (pointer == nullptr || count == 0) return;
    pieces_.push_back({as_bytes(pointer), count * sizeof(T), !std::is_const_v<T>});
    patches_.push_back([this, &pointer] { pointer = moved(pointer); });
  }
  template <class T>
  void use(std::span<T>& values) {
    if (values.empty()) return;
    pieces_.push_back({as_bytes(values.data()), values.size_bytes(), !std::is_const_v<T>});
    patches_.push_back([this, &values] { values = {moved(values.data()), values.size()}; });
  }
  template <class T>
  void use(BasicRows<T>& rows) {
    if (rows.rows == 0 || rows.cols == 0) return;
    use(rows.data, static_cast<std::size_t>((rows.rows - 1) * rows.stride + rows.cols));
  }
  void use(Matrix& matrix) {
    if (matrix.tiles) {
      use(matrix.tiles->tiles, matrix.tiles->shape.tile_bytes());
      use(matrix.tiles->scales, matrix.tiles->shape.scale_bytes() / sizeof(bf16));
      return;
    }
    const std::size_t element = matrix.format == Matrix::Format::F32 ? 4 : 2;
    use(matrix.data, static_cast<std::size_t>(matrix.rows * matrix.columns) * element);
  }
  void use(PagedKv& kv) {
    const auto rows = static_cast<std::size_t>(kv.pages * kv.kv_heads * kv.page_tokens);
    use(kv.keys, rows * static_cast<std::size_t>(kv.key_dim) * size_of(kv.dtype));
    use(kv.values, rows * static_cast<std::size_t>(kv.value_dim) * size_of(kv.dtype));
  }

  template <class Work>
  void run(Work&& work) {
    merge();
    for (Piece& piece : pieces_) {
      const auto skew = reinterpret_cast<std::uintptr_t>(piece.host) % kAlignment;
      piece.buffer = memory_.allocate(piece.bytes + skew);
      piece.device = piece.buffer.data() + skew;
      memory_.upload(piece.device, piece.host, piece.bytes);
    }
    for (const auto& patch : patches_) patch();
    work();
    for (const Piece& piece : pieces_)
      if (piece.written) memory_.download(piece.host, piece.device, piece.bytes);
  }

 private:
  static constexpr std::uintptr_t kAlignment = 64;

  struct Piece {
    std::byte* host;
    std::size_t bytes;
    bool written;
    Buffer buffer = {};
    std::byte* device = nullptr;
  };

  template <class T>
  static std::byte* as_bytes(T* pointer) {
    return const_cast<std::byte*>(reinterpret_cast<const std::byte*>(pointer));
  }

  void merge() {
    std::ranges::sort(pieces_, {}, &Piece::host);
    std::vector<Piece> merged;
    for (Piece& piece : pieces_) {
      if (!merged.empty() && piece.host <= merged.back().host + merged.back().bytes) {
        Piece& last = merged.back();
        last.bytes =
            std::max(last.bytes, static_cast<std::size_t>(piece.host - last.host) + piece.bytes);
        last.written = last.written || piece.written;
      } else {
        merged.push_back(std::move(piece));
      }
    }
    pieces_ = std::move(merged);
  }

  template <class T>
  T* moved(T* pointer) const {
    std::byte* const host = as_bytes(pointer);
    const auto after = std::ranges::upper_bound(pieces_, host, {}, &Piece::host);
    const Piece& piece = *std::prev(after);
    return reinterpret_cast<T*>(piece.device + (host - piece.host));
  }

  Memory& memory_;
  std::vector<Piece> pieces_;
  std::vector<std::function<void()>> patches_;
};

class StagedOps final : public Ops {
 public:
  explicit StagedOps(Ops& device) : device_(device) {}
  std::string_view name() const override { return device_.name(); }

 private:
  template <class Op, class... Operands>
  void run(void (Ops::*call)(const Op&), Op& op, Operands&... operands) {
    Stage stage(device_.memory());
    (stage.use(operands), ...);
    stage.run([&] { (device_.*call)(op); });
  }

  void do_embedding(const Embedding& given) override {
    Embedding op = given;
    run(&Ops::embedding, op, op.ids, op.table, op.out);
  }
  void do_rms_norm(const RmsNorm& given) override {
    RmsNorm op = given;
    run(&Ops::rms_norm, op, op.x, op.weight, op.out);
  }
  void do_gated_rms_norm(const GatedRmsNorm& given) override {
    GatedRmsNorm op = given;
    run(&Ops::gated_rms_norm, op, op.x, op.gate, op.weight, op.out);
  }
  void do_add_norm(const AddNorm& given) override {
    AddNorm op = given;
    run(&Ops::add_norm, op, op.x, op.y, op.z, op.weight, op.sum, op.out);
  }
  void do_add(const Add& given) override {
    Add op = given;
    run(&Ops::add, op, op.x, op.y, op.z, op.out);
  }
  void do_copy(const Copy& given) override {
    Copy op = given;
    run(&Ops::copy, op, op.x, op.out);
  }
  void do_sigmoid_multiply(const SigmoidMultiply& given) override {
    SigmoidMultiply op = given;
    run(&Ops::sigmoid_multiply, op, op.x, op.gate, op.out);
  }
  void do_linear(const Linear& given) override {
    Linear op = given;
    run(&Ops::linear, op, op.x, op.weight, op.bias, op.out);
  }
  void do_head_linear(const HeadLinear& given) override {
    HeadLinear op = given;
    run(&Ops::head_linear, op, op.x, op.weight, op.out);
  }
  void do_rotary_table(const RotaryTable& given) override {
    RotaryTable op = given;
    run(&Ops::rotary_table, op, op.positions, op.frequencies, op.cosine, op.sine);
  }
  void do_rotary(const Rotary& given) override {
    Rotary op = given;
    run(&Ops::rotary, op, op.x, op.cosine, op.sine, op.out);
  }
  void do_kv_append(const KvAppend& given) override {
    KvAppend op = given;
    device_.begin_step(op.segments, op.keys.rows / op.kv.kv_heads);
    run(&Ops::kv_append, op, op.keys, op.values, op.kv);
  }
  void do_attention(const Attention& given) override {
    Attention op = given;
    device_.begin_step(op.segments, op.queries.rows / op.heads);
    run(&Ops::attention, op, op.queries, op.kv, op.out);
  }
  void do_attention_over_latents(const AttentionOverLatents& given) override {
    AttentionOverLatents op = given;
    device_.begin_step(op.segments, op.queries.rows / op.heads);
    run(&Ops::attention_over_latents, op, op.queries, op.absorbed, op.mixed, op.key_up, op.value_up,
        op.kv, op.out);
  }
  void do_causal_conv(const CausalConv& given) override {
    CausalConv op = given;
    device_.begin_step(op.segments, op.x.rows);
    Stage stage(device_.memory());
    stage.use(op.x);
    stage.use(op.weight);
    stage.use(op.out);
    stage.use(op.state, static_cast<std::size_t>(op.slots * (op.width - 1) * op.x.cols));
    stage.run([&] { device_.causal_conv(op); });
  }
  void do_delta_gates(const DeltaGates& given) override {
    DeltaGates op = given;
    run(&Ops::delta_gates, op, op.a, op.b, op.a_log, op.dt_bias, op.log_decay, op.beta);
  }
  void do_delta_net(const DeltaNet& given) override {
    DeltaNet op = given;
    device_.begin_step(op.segments, op.q.rows);
    Stage stage(device_.memory());
    for (Rows* rows : {&op.q, &op.k, &op.v, &op.log_decay, &op.beta}) stage.use(*rows);
    stage.use(op.out);
    stage.use(op.state,
              static_cast<std::size_t>(op.slots * op.value_heads * op.key_dim * op.value_dim));
    stage.run([&] { device_.delta_net(op); });
  }
  void do_conv_and_delta_net(const CausalConv& given_conv, const DeltaNet& given) override {
    CausalConv conv = given_conv;
    DeltaNet op = given;
    device_.begin_step(op.segments, op.q.rows);
    Stage stage(device_.memory());
    for (Rows* rows : {&conv.x, &op.q, &op.k, &op.v, &op.log_decay, &op.beta}) stage.use(*rows);
    stage.use(conv.weight);
    stage.use(conv.out);
    stage.use(op.out);
    stage.use(conv.state, static_cast<std::size_t>(conv.slots * (conv.width - 1) * conv.x.cols));
    stage.use(op.state,
              static_cast<std::size_t>(op.slots * op.value_heads * op.key_dim * op.value_dim));
    stage.run([&] { device_.conv_and_delta_net(conv, op); });
  }
  void do_route(const Route& given) override {
    Route op = given;
    run(&Ops::route, op, op.logits, op.bias, op.ids, op.weights);
  }
  void do_top_logits(const TopLogits& given) override {
    TopLogits op = given;
    run(&Ops::top_logits, op, op.logits, op.ids, op.values);
  }
  void do_experts(const Experts& given) override {
    Experts op = given;
    Stage stage(device_.memory());
    stage.use(op.x);
    stage.use(op.ids);
    stage.use(op.weights);
    stage.use(op.out);
    const auto count = static_cast<std::size_t>(op.matrices.experts);
    std::vector<Matrix> plain;
    if (op.matrices.tiled) {
      stage.use(op.matrices.tiled->base, count * op.matrices.tiled->expert_bytes);
    } else {
      for (const Matrix* matrices : {op.matrices.gate, op.matrices.up, op.matrices.down})
        plain.insert(plain.end(), matrices, matrices + count);
      for (Matrix& matrix : plain) stage.use(matrix);
      op.matrices.gate = plain.data();
      op.matrices.up = op.matrices.gate + count;
      op.matrices.down = op.matrices.up + count;
    }
    stage.run([&] { device_.experts(op); });
  }

  Ops& device_;
};

}  // namespace krasis::test
