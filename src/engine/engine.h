// Serves many requests with one model: continuous batching, prompts in chunks between decode steps,
// paged cache. Owns the thread that drives the model. submit() and cancel() may be called from any
// thread.
//
// One step holds the next token of every sequence that generates and at most prompt_chunk tokens of
// prompts, oldest first. Requests start in the order they came in. A request starts when there are
// pages for its prompt and takes more as it grows; when there are none, the youngest sequence gives
// up its place, waits at the head of the queue and is computed again later (what it has said stays
// said). The oldest can always go on, since the cache holds at least one whole context: no request
// is lost and none waits for ever. A step that runs out of memory is begun again in smaller ones
// (step_size.h).
#pragma once

#include <cstdint>
#include <memory>

#include "engine/request.h"
#include "engine/step_runner.h"
#include "engine/step_size.h"
#include "model/model.h"

namespace krasis {

struct EngineOptions {
  std::int64_t context_length = 0;  // tokens of one sequence, prompt and answer; 0: the model's
                                    // own, as far as cache_bytes allows
  std::int64_t max_sequences = 8;   // under way at once; the others wait
  std::int64_t prompt_chunk = 512;  // prompt tokens of one step
  std::int64_t page_tokens = 64;
  std::size_t cache_bytes = 0;  // for key-value pages; 0: max_sequences * context_length at most,
                                // within a quarter of the free memory
  DType kv_type = DType::BF16;
};

// What an engine works within, after the memory was counted (cache_plan.h).
struct EngineLimits {
  std::int64_t context_length = 0;
  std::int64_t max_sequences = 8;
  std::int64_t prompt_chunk = 512;
  std::int64_t page_tokens = 64;
  std::int64_t pages = 0;  // at least one sequence of context_length
};

using RequestId = std::uint64_t;

struct EngineStatus {
  std::int64_t running = 0, waiting = 0;
  std::int64_t pages_total = 0, pages_free = 0;
  std::uint64_t prompt_tokens = 0, generated_tokens = 0;  // since start
  std::uint64_t steps_without_memory = 0;                 // since start
  StepLimits step_limits{};                               // smaller than the engine's after those
};

class Engine {
 public:
  // `model` outlives the engine and is used by nobody else meanwhile. Where there is less memory
  // than was counted the cache gets fewer pages, then fewer slots, and the log says so. Throws
  // Error(OutOfMemory) if it cannot hold one sequence of the context length asked for.
  Engine(Model& model, const EngineOptions& options);

  // As above with any step runner that has limits.max_sequences slots and limits.pages pages.
  Engine(std::unique_ptr<StepRunner> runner, const EngineLimits& limits);

  ~Engine();  // cancels what is under way

  const EngineLimits& limits() const;
  std::int64_t context_length() const { return limits().context_length; }
  std::int64_t vocab() const;

  // Checks the request and queues it. Throws Error(InvalidArgument) with the actual numbers if the
  // prompt is empty, an id is outside the vocabulary, the prompt and max_tokens (at least one
  // token) exceed the context length, or a sampling option is out of range.
  RequestId submit(Request request, EventSink sink);

  // Ends the request within one step (its sink hears Cancelled); nothing if it is over.
  void cancel(RequestId id);

  EngineStatus status() const;

 private:
  struct Made {
    std::unique_ptr<StepRunner> runner;
    EngineLimits limits;
  };
  static Made make_runner(Model& model, const EngineOptions& options);
  explicit Engine(Made made);

  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace krasis
