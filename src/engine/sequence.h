// One request under way.
#pragma once

#include <chrono>
#include <cstdint>
#include <utility>
#include <vector>

#include "engine/request.h"
#include "engine/sampler.h"

namespace krasis {

struct Sequence {
  using Clock = std::chrono::steady_clock;

  Sequence(std::uint64_t request_id, Request&& asked, EventSink&& event_sink, std::uint64_t seed)
      : id(request_id),
        request(std::move(asked)),
        sink(std::move(event_sink)),
        sampler(request.sampling, seed, request.prompt),
        tokens(request.prompt) {}

  std::int64_t prompt_tokens() const { return static_cast<std::int64_t>(request.prompt.size()); }
  std::int64_t generated() const {
    return static_cast<std::int64_t>(tokens.size()) - prompt_tokens();
  }
  // Tokens that the model has not seen yet; 1 while it generates.
  std::int64_t pending() const { return static_cast<std::int64_t>(tokens.size()) - cached; }

  std::uint64_t id;
  Request request;
  EventSink sink;
  Sampler sampler;
  std::vector<std::int32_t> tokens;  // prompt and answer
  std::int64_t cached = 0;           // of the tokens, how many the caches hold
  std::vector<std::int32_t> pages;   // of the cache, in the order of the tokens
  std::int32_t slot = -1;            // -1: waits

  Clock::time_point submitted = Clock::now();
  Clock::time_point started{};      // the epoch: has not
  Clock::time_point first_token{};  // the epoch: none yet
};

}  // namespace krasis
