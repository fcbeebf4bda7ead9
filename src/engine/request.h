// What one request asks of the engine and what it hears back. Token ids only: text is text/'s.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"

namespace krasis {

struct SamplingOptions {
  float temperature = 1;        // 0: greedy
  float top_p = 1;              // (0, 1]
  float min_p = 0;              // [0, 1]: leave out tokens below min_p * the best one's probability
  std::int64_t top_k = 0;       // 0: all
  float presence_penalty = 0;   // [-2, 2], subtracted once from logits of tokens already generated
  float frequency_penalty = 0;  // [-2, 2], times their count
  float repetition_penalty = 1;  // > 0: divides positive, multiplies negative logits of seen tokens
                                 // (prompt and answer)
  std::vector<std::pair<std::int32_t, float>> logit_bias{};  // added
  std::optional<std::uint64_t> seed{};                       // none: a random one
  // Log-probabilities are of the model's own distribution: after the logits' bias and penalties,
  // before temperature and cuts.
  bool logprobs = false;
  int top_logprobs = 0;  // [0, 20] most probable tokens to report beside the chosen one
};

struct Request {
  std::vector<std::int32_t> prompt;   // at least one token
  std::int64_t max_tokens = 0;        // at most this many are generated; 0: as the context allows
  std::vector<std::int32_t> end_ids;  // generation ends after one of these (it is reported)
  bool ignore_end = false;            // benchmarks: go on
  SamplingOptions sampling;
};

enum class FinishReason : std::uint8_t { None, End, Length, Cancelled, Failed };

struct TokenLogprob {
  std::int32_t id = 0;
  float logprob = 0;
};

// One step of one request. The last event has a finish reason; its token, if any, is part of the
// answer except when the reason is End (then it is the end token).
struct TokenEvent {
  std::optional<std::int32_t> token;
  TokenLogprob chosen;                     // if logprobs were asked for
  std::vector<TokenLogprob> top_logprobs;  // best first
  FinishReason finish = FinishReason::None;
  std::string error;  // for Failed, as the next one
  ErrorCode error_code = ErrorCode::Internal;
  // Filled in on the last event:
  std::int64_t prompt_tokens = 0, generated_tokens = 0;
  double prefill_ms =
      0;  // from the request's start in the engine (after waiting) to the first token
  double decode_ms = 0;  // from the first token to the last
  double queue_ms = 0;   // waited for a place
};

// Called on the engine's thread, in order, never after the event with a finish reason. Must be
// quick and must not call the engine except cancel().
using EventSink = std::function<void(const TokenEvent&)>;

}  // namespace krasis
