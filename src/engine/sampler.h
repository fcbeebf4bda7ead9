// Chooses the next token of one sequence from its logits. What it chooses depends on the options,
// the seed, the sequence's own tokens and the logits, on nothing else.
//
// In this order, for each token id with logit l (c: times it was generated, seen: in prompt or
// answer):
//   seen:             l = l > 0 ? l / repetition_penalty : l * repetition_penalty
//   c > 0:            l = l - presence_penalty - c * frequency_penalty
//   in logit_bias:    l = l + bias
//   logprob(id)       = l - log sum exp l                       (what logprobs report)
//   temperature == 0: the highest l, the lowest id among equals
//   otherwise         p = softmax(l / temperature) over the top_k highest l, then a draw from the
//                     smallest set of most probable ids that reaches top_p, without those below
//                     min_p * the best one's probability
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/distribution.h"
#include "engine/request.h"

namespace krasis {

constexpr int kMaxTopLogprobs = 20;

// Throws Error(InvalidArgument) naming the option and its range.
void check(const SamplingOptions& options, std::int64_t vocab);

struct Choice {
  std::int32_t id = 0;
  TokenLogprob chosen;                     // if logprobs were asked for
  std::vector<TokenLogprob> top_logprobs;  // best first
};

// Working memory, shared by the samplers that one thread uses one after another.
struct SamplerScratch {
  Distribution distribution;
  std::vector<TokenLogprob> best;  // logprob holds the logit
  std::vector<float> best_logits;
};

class Sampler {
 public:
  Sampler(const SamplingOptions& options, std::uint64_t seed, std::span<const std::int32_t> prompt);

  // Changes `logits` [vocab]; remembers the token for the penalties. Throws Error(Internal) if a
  // logit is NaN or +infinity or if none is finite.
  Choice sample(std::span<float> logits, SamplerScratch& scratch);

  // How many of the highest logits are all that it looks at; 0 if it looks at others too.
  std::int64_t best_needed(std::int64_t vocab) const;
  // The same choice as sample() from the best_needed() highest logits or more, in the order of
  // ops/top_logits.h.
  Choice sample_best(std::span<const std::int32_t> ids, std::span<const float> logits,
                     SamplerScratch& scratch);

 private:
  void adjust(std::span<float> logits) const;
  bool penalizes() const;
  std::int32_t draw(std::span<const float> logits, float highest, SamplerScratch& scratch);
  std::int32_t draw_from_best(float highest, SamplerScratch& scratch);
  void remember(std::int32_t id);

  SamplingOptions options_;
  RandomBits random_;
  std::unordered_map<std::int32_t, std::int64_t> generated_;  // times; prompt tokens: 0 or more
};

}  // namespace krasis
