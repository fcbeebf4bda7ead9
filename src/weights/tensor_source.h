// Where a model's tensors come from: a checkpoint on disk, or made-up numbers for benchmarks.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "tensor/tensor.h"

namespace krasis {

class TensorSource {
 public:
  TensorSource() = default;
  TensorSource(const TensorSource&) = delete;
  TensorSource& operator=(const TensorSource&) = delete;
  virtual ~TensorSource() = default;

  // The tensor as it is stored; the view lives as long as the source. nullopt: there is none.
  // `expected` is what the caller is going to require; a made-up source answers with that shape.
  virtual std::optional<TensorView> find(const std::string& name, const Shape& expected) = 0;

  // Throws Error(NotFound) "checkpoint: DIR: no tensor \"NAME\"", Error(Corrupt) naming both shapes
  // if it has another shape than `expected`.
  TensorView require(const std::string& name, const Shape& expected);

  // Hints for what is read once and in order: the view's bytes are wanted soon, or not any more.
  // They stay readable; only how much of the file is in memory changes.
  virtual void will_need(const TensorView& /*view*/) {}
  virtual void done_with(const TensorView& /*view*/) {}

  virtual std::string description() const = 0;  // for messages: the folder, or "dummy weights"

  // Identifies the tensors' content for caches: names, shapes, types, offsets, file sizes and
  // modification times. Empty: never cache.
  virtual std::string fingerprint() const = 0;
};

// DIR/model.safetensors or DIR/model.safetensors.index.json with its shards, mapped.
std::unique_ptr<TensorSource> open_checkpoint(const std::filesystem::path& model_dir);

// Any tensor asked for: BF16, pseudo-random from the name, normal with deviation 0.02 (vectors: 1).
std::unique_ptr<TensorSource> make_dummy_source();

}  // namespace krasis
