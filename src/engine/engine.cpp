#include "engine/engine.h"

#include <algorithm>
#include <condition_variable>
#include <fmt/core.h>
#include <mutex>
#include <new>
#include <random>
#include <thread>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "engine/sampler.h"
#include "engine/scheduler.h"
#include "tensor/host_buffer.h"

namespace krasis {
namespace {

Error no_memory() {
  return Error(ErrorCode::OutOfMemory, "engine: the program's memory is used up");
}

double ms_between(Sequence::Clock::time_point from, Sequence::Clock::time_point to) {
  return std::chrono::duration<double, std::milli>(to - from).count();
}

void check_request(const Request& request, const EngineLimits& limits, std::int64_t vocab) {
  const auto refuse = [](const std::string& text) {
    throw Error(ErrorCode::InvalidArgument, text);
  };
  const auto prompt = static_cast<std::int64_t>(request.prompt.size());
  const std::int64_t context = limits.context_length;
  if (prompt == 0) refuse("request: the prompt has no tokens");
  for (const std::int32_t id : request.prompt) {
    if (id < 0 || id >= vocab)
      refuse(fmt::format("request: the prompt names token {}, the vocabulary has {}", id, vocab));
  }
  if (request.max_tokens < 0)
    refuse(fmt::format("request: max_tokens is {}, choose at least 1", request.max_tokens));
  if (prompt + 1 > context) {
    refuse(
        fmt::format("request: the prompt has {} tokens, the context holds {} with at least one "
                    "of them for the answer; shorten the prompt",
                    prompt, context));
  }
  if (request.max_tokens > context - prompt) {
    refuse(fmt::format(
        "request: the prompt has {} tokens and max_tokens is {}, together more than the context's "
        "{}; shorten the prompt or choose max_tokens up to {}",
        prompt, request.max_tokens, context, context - prompt));
  }
  check(request.sampling, vocab);
}

std::uint64_t random_seed() {
  std::random_device device;
  return (std::uint64_t{device()} << 32) | device();
}

}  // namespace

struct Engine::Impl {
  Impl(std::unique_ptr<StepRunner> step_runner, const EngineLimits& engine_limits);
  ~Impl();

  void run();
  bool take_orders();
  void step();
  std::int64_t best_needed(const Step& step) const;
  void forward(const Step& step);
  void finish_step(const Step& step);
  void give_up_all(const Error& error);
  void give_up(const Step& step, const Error& error);
  bool step_down(const Step& step, const Error& error);
  void step_up();
  Choice choose(Sequence& sequence, std::size_t row);
  void advance(Sequence& sequence, std::size_t row);
  void end(std::unique_ptr<Sequence> sequence, FinishReason reason, TokenEvent event = {});
  void fail(std::unique_ptr<Sequence> sequence, const Error& error);
  bool deliver(Sequence& sequence, const TokenEvent& event);
  void publish();

  const EngineLimits limits;
  const std::unique_ptr<StepRunner> runner;

  // The engine's thread alone:
  Scheduler scheduler;
  SamplerScratch scratch;
  HostBuffer logits;  // [max_sequences, vocab], or instead of them, where few are enough:
  std::vector<std::int32_t> best_ids;  // [sampled, best_count]
  std::vector<float> best_logits;      // [sampled, best_count]
  std::int64_t best_count = 0;         // of the step under way; 0: logits holds whole rows
  std::uint64_t prompt_tokens = 0, generated_tokens = 0, steps_without_memory = 0;
  StepSize size;

  std::mutex orders;  // guards what follows
  std::condition_variable orders_changed;
  std::vector<std::unique_ptr<Sequence>> submitted;
  std::vector<RequestId> cancelled;
  bool stopping = false;
  RequestId next_id = 1;
  EngineStatus published;

  std::thread thread;
};

Engine::Impl::Impl(std::unique_ptr<StepRunner> step_runner, const EngineLimits& engine_limits)
    : limits(engine_limits),
      runner(std::move(step_runner)),
      scheduler(engine_limits),
      logits(static_cast<std::size_t>(engine_limits.max_sequences * runner->vocab()) *
             sizeof(float)),
      size(
          {.prompt_tokens = engine_limits.prompt_chunk, .sequences = engine_limits.max_sequences}) {
  publish();
  thread = std::thread([this] { run(); });
}

Engine::Impl::~Impl() {
  {
    const std::lock_guard lock(orders);
    stopping = true;
  }
  orders_changed.notify_one();
  thread.join();
}

void Engine::Impl::run() {
  while (take_orders()) {
    try {
      step();
    } catch (const Error& error) {
      give_up_all(error);
    } catch (const std::bad_alloc&) {
      give_up_all(no_memory());
    } catch (const std::exception& error) {
      give_up_all(Error(ErrorCode::Internal, error.what()));
    }
    publish();
  }
  while (auto sequence = scheduler.remove_any()) end(std::move(sequence), FinishReason::Cancelled);
}

// Waits until there is something to do and takes in what was submitted and cancelled; false when
// the engine is to end.
bool Engine::Impl::take_orders() {
  std::vector<std::unique_ptr<Sequence>> arrived;
  std::vector<RequestId> left;
  bool over = false;
  {
    std::unique_lock lock(orders);
    orders_changed.wait(lock, [this] {
      return stopping || !submitted.empty() || !cancelled.empty() ||
             scheduler.running() + scheduler.waiting() > 0;
    });
    arrived.swap(submitted);
    left.swap(cancelled);
    published.waiting += static_cast<std::int64_t>(arrived.size());
    over = stopping;
  }
  for (auto& sequence : arrived) scheduler.enqueue(std::move(sequence));
  for (const RequestId id : left) end(scheduler.remove(id), FinishReason::Cancelled);
  return !over;
}

void Engine::Impl::step() {
  step_up();
  const Step& step = scheduler.plan();
  if (step.empty()) return;
  publish();  // the step may take long
  const auto without = [&](const Error& error) {
    if (error.code() != ErrorCode::OutOfMemory || !step_down(step, error)) give_up(step, error);
  };
  try {
    forward(step);
  } catch (const Error& error) {
    return without(error);
  } catch (const std::bad_alloc&) {
    return without(no_memory());
  } catch (const std::exception& error) {
    give_up(step, Error(ErrorCode::Internal, error.what()));
    return;
  }
  finish_step(step);
}

// The highest logits of a row that serve every sequence that is sampled; 0: all.
std::int64_t Engine::Impl::best_needed(const Step& step) const {
  std::int64_t most = 0;
  for (const Sequence* sequence : step.sampled) {
    const std::int64_t needed = sequence->sampler.best_needed(runner->vocab());
    if (needed == 0) return 0;
    most = std::max(most, needed);
  }
  return most;
}

void Engine::Impl::forward(const Step& step) {
  best_count = best_needed(step);
  if (best_count == 0) {
    const auto rows = static_cast<std::int64_t>(step.sampled.size());
    return runner->forward(step.batch, {logits.as<float>(), rows, runner->vocab()});
  }
  best_ids.resize(step.sampled.size() * static_cast<std::size_t>(best_count));
  best_logits.resize(best_ids.size());
  runner->forward_best(step.batch, {.count = best_count, .ids = best_ids, .values = best_logits});
}

// Before or after what a step computes: nobody can go on.
void Engine::Impl::give_up_all(const Error& error) {
  log::error(fmt::format("engine: {}", error.what()));
  while (auto sequence = scheduler.remove_any()) fail(std::move(sequence), error);
}

void Engine::Impl::give_up(const Step& step, const Error& error) {
  log::error(fmt::format("engine: a step failed, its {} requests end: {}", step.sequences.size(),
                         error.what()));
  std::vector<std::uint64_t> ids;
  for (const Sequence* sequence : step.sequences) ids.push_back(sequence->id);
  for (const std::uint64_t id : ids) fail(scheduler.remove(id), error);
}

// Begins everything again in smaller steps; false if they cannot be smaller.
bool Engine::Impl::step_down(const Step& step, const Error& error) {
  ++steps_without_memory;
  StepLimits failed = {.prompt_tokens = 0, .sequences = std::ssize(step.sequences)};
  for (const Segment& segment : step.batch.segments)
    if (segment.rows > 1) failed.prompt_tokens += segment.rows;
  runner->step_down(step.batch.tokens());
  if (!size.shrink(failed)) return false;
  const StepLimits& now = size.now();
  log::warning(fmt::format(
      "engine: {} requests begin again, at most {} at once and {} tokens of prompts a step: {}",
      scheduler.running(), now.sequences, now.prompt_tokens, error.what()));
  scheduler.set_step_limits(now);
  scheduler.restart();
  return true;
}

void Engine::Impl::step_up() {
  if (!size.grow(scheduler.prompt_is_half_read())) return;
  const StepLimits& now = size.now();
  log::info(fmt::format("engine: up to {} requests at once and {} tokens of prompts a step again",
                        now.sequences, now.prompt_tokens));
  scheduler.set_step_limits(now);
  runner->step_up();
}

void Engine::Impl::finish_step(const Step& step) {
  if (!step.sampled.empty()) size.token_came();
  for (std::size_t i = 0; i < step.sequences.size(); ++i) {
    if (step.sequences[i]->generated() == 0)
      prompt_tokens += static_cast<std::uint64_t>(step.batch.segments[i].rows);
  }
  scheduler.commit();
  // Ending a sequence leaves the step as it is, but the sequence itself is gone: each is touched
  // once.
  for (std::size_t i = 0; i < step.sampled.size(); ++i) advance(*step.sampled[i], i);
}

Choice Engine::Impl::choose(Sequence& sequence, std::size_t row) {
  if (best_count == 0) {
    const auto vocab = static_cast<std::size_t>(runner->vocab());
    return sequence.sampler.sample({logits.as<float>() + row * vocab, vocab}, scratch);
  }
  const auto count = static_cast<std::size_t>(best_count);
  return sequence.sampler.sample_best(std::span(best_ids).subspan(row * count, count),
                                      std::span(best_logits).subspan(row * count, count), scratch);
}

// Chooses the sequence's next token and tells its sink.
void Engine::Impl::advance(Sequence& sequence, std::size_t row) {
  Choice choice;
  try {
    choice = choose(sequence, row);
  } catch (const std::exception& error) {
    fail(scheduler.remove(sequence.id), Error(ErrorCode::Internal, error.what()));
    return;
  }
  if (sequence.generated() == 0) sequence.first_token = Sequence::Clock::now();
  sequence.tokens.push_back(choice.id);
  ++generated_tokens;

  const Request& request = sequence.request;
  TokenEvent event;
  event.token = choice.id;
  event.chosen = choice.chosen;
  event.top_logprobs = std::move(choice.top_logprobs);
  const bool at_end = std::ranges::find(request.end_ids, choice.id) != request.end_ids.end();
  if (at_end && !request.ignore_end) {
    end(scheduler.remove(sequence.id), FinishReason::End, std::move(event));
  } else if (sequence.generated() >= request.max_tokens) {
    end(scheduler.remove(sequence.id), FinishReason::Length, std::move(event));
  } else if (!deliver(sequence, event)) {
    scheduler.remove(sequence.id);
  }
}

void Engine::Impl::fail(std::unique_ptr<Sequence> sequence, const Error& error) {
  TokenEvent event;
  event.error = error.what();
  event.error_code = error.code();
  end(std::move(sequence), FinishReason::Failed, std::move(event));
}

void Engine::Impl::end(std::unique_ptr<Sequence> sequence, FinishReason reason, TokenEvent event) {
  if (!sequence) return;
  if (reason == FinishReason::End || reason == FinishReason::Length) size.request_went_well();
  const auto now = Sequence::Clock::now();
  event.finish = reason;
  event.prompt_tokens = sequence->prompt_tokens();
  event.generated_tokens = sequence->generated();
  const bool started = sequence->started != Sequence::Clock::time_point{};
  event.queue_ms = ms_between(sequence->submitted, started ? sequence->started : now);
  if (sequence->generated() > 0) {
    event.prefill_ms = ms_between(sequence->started, sequence->first_token);
    event.decode_ms = ms_between(sequence->first_token, now);
  }
  // Who hears of the end may look at the status next.
  publish();
  deliver(*sequence, event);
}

// false if the sink threw: then nobody listens any more.
bool Engine::Impl::deliver(Sequence& sequence, const TokenEvent& event) {
  try {
    sequence.sink(event);
    return true;
  } catch (const std::exception& error) {
    log::error(
        fmt::format("engine: request {}: its listener failed: {}", sequence.id, error.what()));
    return false;
  }
}

void Engine::Impl::publish() {
  const std::lock_guard lock(orders);
  published = {.running = scheduler.running(),
               .waiting = scheduler.waiting(),
               .pages_total = scheduler.pages().total(),
               .pages_free = scheduler.pages().free(),
               .prompt_tokens = prompt_tokens,
               .generated_tokens = generated_tokens,
               .steps_without_memory = steps_without_memory,
               .step_limits = size.now()};
}

Engine::Engine(std::unique_ptr<StepRunner> runner, const EngineLimits& limits)
    : impl_(std::make_unique<Impl>(std::move(runner), limits)) {}

Engine::~Engine() = default;

const EngineLimits& Engine::limits() const {
  return impl_->limits;
}
std::int64_t Engine::vocab() const {
  return impl_->runner->vocab();
}

RequestId Engine::submit(Request request, EventSink sink) {
  check_request(request, impl_->limits, vocab());
  if (request.max_tokens == 0) {
    request.max_tokens =
        impl_->limits.context_length - static_cast<std::int64_t>(request.prompt.size());
  }
  const std::uint64_t seed = request.sampling.seed ? *request.sampling.seed : random_seed();
  auto sequence = std::make_unique<Sequence>(0, std::move(request), std::move(sink), seed);
  RequestId id = 0;
  {
    const std::lock_guard lock(impl_->orders);
    id = sequence->id = impl_->next_id++;
    impl_->submitted.push_back(std::move(sequence));
  }
  impl_->orders_changed.notify_one();
  return id;
}

void Engine::cancel(RequestId id) {
  {
    const std::lock_guard lock(impl_->orders);
    impl_->cancelled.push_back(id);
  }
  impl_->orders_changed.notify_one();
}

EngineStatus Engine::status() const {
  const std::lock_guard lock(impl_->orders);
  EngineStatus status = impl_->published;
  status.waiting += static_cast<std::int64_t>(impl_->submitted.size());
  return status;
}

}  // namespace krasis
