// Everything that a model computes on the way from token ids to logits, for comparison with other
// programs.
#pragma once

#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "model/model.h"

namespace krasis {

struct TracedTensor {
  Shape shape;
  std::vector<float> values;
};

struct Trace {
  std::vector<std::int32_t> input_ids;
  // "hidden.L" [tokens, hidden] after each layer L, "router_logits.L" [tokens, experts] of each
  // layer with routing, "logits" [tokens, vocab].
  std::map<std::string, TracedTensor> tensors;
};

// Token ids of a file's text: decimal numbers with white space between. Throws
// Error(InvalidArgument) naming the first word that is none, or if there are none at all.
std::vector<std::int32_t> parse_token_ids(std::string_view text);

// Runs the ids as one prompt in one step, with a state of its own that keeps keys and values as
// `kv_type`. Throws Error(InvalidArgument) if there are no ids, one is outside the vocabulary or
// there are more than the model's context_length.
Trace trace_prompt(Model& model, std::span<const std::int32_t> ids, DType kv_type = DType::F32);

// A safetensors file: input_ids as I32 [tokens], all others as F32.
void write_trace(const Trace& trace, const std::filesystem::path& path);

}  // namespace krasis
