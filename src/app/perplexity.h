// How well a model predicts a text, token by token.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "model/model.h"

namespace krasis {

struct PerplexityOptions {
  std::int64_t window = 2048;   // tokens the model sees at once, at most
  std::int64_t stride = 1024;   // each window starts this much later; only tokens that no earlier
                                // window has scored are scored
  bool token_by_token = false;  // the decode path: one token a step instead of chunks
  std::int64_t chunk = 256;     // tokens a step on the prefill path
  DType kv_type = DType::BF16;  // of the key-value cache; the reference's is BF16
};

struct PerplexityResult {
  std::int64_t tokens = 0;  // scored
  double nll = 0;           // sum of negative log-likelihoods, nats
  // Against a reference model; nothing where none was given.
  std::optional<double> mean_kl;     // mean over scored tokens of KL(reference || model), nats
  std::optional<double> top1_share;  // share of tokens whose most probable successor is the same

  double perplexity() const;
};

// Throws InvalidArgument if `tokens` are fewer than two, or 0 < stride <= window does not hold.
void check(const PerplexityOptions& options, std::size_t tokens);

// Scores ids[1..] each given what is before it in its window. With `reference`, runs it over the
// same windows and compares the distributions. progress(done, total) in tokens. Throws
// what check() does.
PerplexityResult measure_perplexity(
    Model& model, Model* reference, std::span<const std::int32_t> ids,
    const PerplexityOptions& options,
    const std::function<void(std::uint64_t, std::uint64_t)>& progress);

}  // namespace krasis
