#include "engine/model_runner.h"

#include <algorithm>
#include <fmt/core.h>
#include <utility>

#include "base/log.h"
#include "engine/cache_plan.h"
#include "engine/engine.h"
#include "engine/step_size.h"

namespace krasis {
namespace {

EngineLimits limits_for(const Model& model, const EngineOptions& options) {
  const ModelSpec& spec = model.spec();
  const StateSize one{
      .pages = 1, .page_tokens = options.page_tokens, .slots = 1, .kv_type = options.kv_type};
  const Memory& memory = model.memory();
  return plan_cache(
      options, {.model_context = spec.context_length,
                .page_bytes = page_bytes(spec, one),
                .slot_bytes = slot_bytes(spec),
                .free_bytes = memory.is_host() ? available_memory_bytes() : memory.free_bytes()});
}

StateSize state_size(const EngineLimits& limits, DType kv_type) {
  return {.pages = limits.pages,
          .page_tokens = limits.page_tokens,
          .slots = limits.max_sequences,
          .kv_type = kv_type};
}

}  // namespace

void ModelRunner::step_down(std::int64_t tokens) {
  model_.forget_steps();
  const std::int64_t least = std::max(StepSize::kLeastTokens, state_.size().slots);
  const std::int64_t part = std::min(tokens, model_.part_tokens());
  if (part > least) model_.set_part_tokens(std::max(least, part / 2));
}

Engine::Made Engine::make_runner(Model& model, const EngineOptions& options) {
  EngineLimits limits = limits_for(model, options);
  const std::int64_t least =
      options.context_length > 0
          ? (options.context_length + limits.page_tokens - 1) / limits.page_tokens
          : 1;
  for (;;) {
    try {
      return {std::make_unique<ModelRunner>(model, state_size(limits, options.kv_type)), limits};
    } catch (const Error& error) {
      if (error.code() != ErrorCode::OutOfMemory) throw;
      if (limits.pages > least) {
        limits.pages = std::max(least, limits.pages / 4 * 3);
      } else if (limits.max_sequences > 1) {
        limits.max_sequences /= 2;
      } else {
        throw;
      }
      limits.context_length = std::min(limits.context_length, limits.pages * limits.page_tokens);
      log::warning(fmt::format("engine: a cache of {} pages and {} slots instead: {}", limits.pages,
                               limits.max_sequences, error.what()));
    }
  }
}

Engine::Engine(Model& model, const EngineOptions& options) : Engine(make_runner(model, options)) {}

Engine::Engine(Made made) : Engine(std::move(made.runner), made.limits) {}

}  // namespace krasis
