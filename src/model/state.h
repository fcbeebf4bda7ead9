// What sequences leave behind in a model: the paged key-value cache of attention layers and the
// recurrent state of delta-net layers. Who owns which page and slot is the engine's business.
#pragma once

#include <cstdint>
#include <vector>

#include "arch/model_spec.h"
#include "ops/attention.h"
#include "ops/memory.h"

namespace krasis {

struct StateSize {
  std::int64_t pages = 0;         // of key-value cache, shared by all sequences
  std::int64_t page_tokens = 64;  // tokens a page
  std::int64_t slots = 1;         // sequences that may be under way at once
  DType kv_type = DType::BF16;    // BF16, F8E4M3 or F32
};

// Bytes of key-value cache for one page over all layers, and of recurrent state for one slot.
std::size_t page_bytes(const ModelSpec& spec, const StateSize& size);
std::size_t slot_bytes(const ModelSpec& spec);

class ModelState {
 public:
  // `memory`: that of the ops which run on it.
  ModelState(const ModelSpec& spec, const StateSize& size, Memory& memory);

  const StateSize& size() const { return size_; }
  // Of no other state that this program has made.
  std::uint64_t identity() const { return identity_; }

  PagedKv kv(std::int64_t layer) const;  // of an attention layer

  struct Recurrent {
    float* conv;   // [slots, conv_width - 1, channels]
    float* delta;  // [slots, value_heads, key_dim, value_dim]
  };
  Recurrent recurrent(std::int64_t layer) const;  // of a GatedDeltaNet layer

 private:
  struct Layer {
    std::size_t first_bytes = 0;  // offset of keys, or of the convolution's state
    std::size_t second_bytes =
        0;  // offset of values (0 rows of them: latent), or of the delta state
    PagedKv kv;
  };
  StateSize size_;
  std::uint64_t identity_;
  Buffer buffer_;
  std::vector<Layer> layers_;
};

}  // namespace krasis
