// A model that can be run: its dense weights, its experts and the order of operations. Written
// against Ops alone. Not thread-safe: one thread drives it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "arch/architecture.h"
#include "model/batch.h"
#include "model/state.h"
#include "ops/ops.h"
#include "weights/expert_store.h"
#include "weights/tensor_source.h"

namespace krasis {

enum class DenseFormat : std::uint8_t { AsStored, Int8 };  // Int8: tiles, group 128

struct DenseFormats {
  DenseFormat attention = DenseFormat::AsStored;
  DenseFormat shared_expert = DenseFormat::AsStored;
  DenseFormat dense_mlp = DenseFormat::AsStored;
  DenseFormat lm_head = DenseFormat::AsStored;
};

// Sees intermediate results, for comparison with other programs. Rows live until it returns.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void hidden(std::int64_t layer, Rows rows) = 0;  // residual stream after the layer
  virtual void router_logits(std::int64_t layer, Rows rows) = 0;
};

// Of each row whose logits are wanted, its highest (ops/top_logits.h).
struct BestLogits {
  std::int64_t count = 0;         // of a row
  std::span<std::int32_t> ids{};  // [rows * count], in the program's own memory
  std::span<float> values{};      // [rows * count]
};

class Model {
 public:
  static constexpr std::int64_t kPartTokens = 8192;

  // Everything is looked up, checked and (where asked) quantized here; throws Error naming the
  // tensor. `source`, `experts` and `ops` outlive the model. experts may be null where no layer is
  // sparse. part_tokens: of a larger batch, so many go through a layer at a time, all of them
  // through one layer before the next.
  Model(const ModelDescription& description, TensorSource& source, const ExpertStore* experts,
        const DenseFormats& formats, Ops& ops, std::int64_t part_tokens = kPartTokens);
  ~Model();

  const ModelSpec& spec() const;
  std::size_t dense_bytes() const;  // held by the model itself in memory()
  Memory& memory() const;           // of its ops; states for it are made there

  // Allocates what steps need for intermediate results at once: `bytes` as budget/step_bytes.h
  // counts them. Without it they grow when they must. Before the first step. Throws
  // Error(OutOfMemory).
  void reserve(std::size_t bytes);
  std::size_t workspace_bytes() const;  // allocated for intermediate results

  // Gives back what the ops keep of steps that were run.
  void forget_steps();

  std::int64_t part_tokens() const;
  void set_part_tokens(std::int64_t tokens);

  // Runs all of the batch's tokens through all layers and writes the wanted rows' logits.
  // logits: [batch.logit_rows.size(), spec().vocab], in the program's own memory. The state then
  // holds the tokens.
  void forward(const Batch& batch, ModelState& state, MutableRows logits,
               Observer* observer = nullptr);

  // The same for who needs the highest logits only: they are few, and need not come from a device.
  void forward_best(const Batch& batch, ModelState& state, const BestLogits& best);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace krasis
