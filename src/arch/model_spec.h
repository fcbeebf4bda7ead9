// What a model is to krasis: data. One file per architecture in this folder fills in a ModelSpec
// from a config.json; everything past this folder sees only the spec and never asks for a model by
// name.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "ops/experts.h"

namespace krasis {

// Rotary embedding with every scaling rule already applied (ops/rotary.h).
struct RotarySpec {
  std::vector<float> frequencies;  // [rotary_dim / 2], radians a token
  float scale = 1;                 // multiplies cosine and sine
  bool interleaved = false;        // pairs (2i, 2i + 1) instead of (i, i + half)

  std::int64_t dim() const { return 2 * static_cast<std::int64_t>(frequencies.size()); }
};

struct GroupedQueryAttention {  // GQA
  std::int64_t heads = 0, kv_heads = 0, head_dim = 0;
  RotarySpec rotary;         // of the first rotary.dim() columns of a head
  float scale = 0;           // of the scores
  bool bias = false;         // on q, k and v
  bool output_bias = false;  // on the output projection
  bool qk_norm = false;      // RMS norm of each head's q and k before rotary
  bool output_gate = false;  // q_proj holds [query | gate] for each head; output *= sigmoid(gate)
};

struct LatentAttention {  // MLA
  std::int64_t heads = 0, kv_lora_rank = 0;
  std::int64_t q_lora_rank = 0;  // 0: one q projection
  std::int64_t nope_dim = 0, rope_dim = 0, value_dim = 0;
  RotarySpec rotary;
  float scale = 0;  // of the scores, with YaRN's mscale squared in it
  // Of the norms behind the down projections: the models' own code leaves it at its default there,
  // whatever rms_norm_eps says.
  double norm_eps = 1e-6;
  bool bias = false;  // on the down projections and the output projection
};

struct GatedDeltaNet {
  std::int64_t key_heads = 0, value_heads = 0, key_dim = 0, value_dim = 0, conv_width = 0;
};

using Mixer = std::variant<GroupedQueryAttention, LatentAttention, GatedDeltaNet>;

struct DenseFfn {
  std::int64_t intermediate = 0;
  bool bias = false;
};

struct SparseFfn {
  std::int64_t intermediate = 0;         // of one routed expert
  std::int64_t shared_intermediate = 0;  // of all shared experts as one; 0: none
  bool shared_gate = false;              // shared output *= sigmoid(shared_gate . x)
  bool routing_bias = false;             // a bias that only chooses
  Routing routing;
};

using Ffn = std::variant<DenseFfn, SparseFfn>;

struct LayerSpec {
  Mixer mixer;
  Ffn ffn;
};

// How the checkpoint stores the routed experts.
enum class ExpertStorage : std::uint8_t {
  Plain,       // NAME.weight in BF16, F16 or F32
  PackedInt4,  // NAME.weight_packed, .weight_scale, .weight_shape (compressed-tensors)
};

struct ModelSpec {
  std::string architecture;  // config.json "model_type", for messages
  std::int64_t hidden = 0, vocab = 0;
  std::int64_t context_length = 0;  // max_position_embeddings
  double norm_eps = 0;
  bool zero_centred_norms = false;  // stored weight is weight - 1 (not in a GatedDeltaNet's norm)
  bool tied_head = false;           // the LM head is the embedding
  ExpertStorage expert_storage = ExpertStorage::Plain;
  std::int64_t packed_group = 0;      // for PackedInt4: columns that share a scale
  std::vector<std::int32_t> end_ids;  // eos of config.json and generation_config.json together
  std::vector<LayerSpec> layers;
};

}  // namespace krasis
