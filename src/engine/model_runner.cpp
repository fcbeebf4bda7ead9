#include "engine/model_runner.h"

#include "engine/cache_plan.h"
#include "engine/engine.h"

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

Engine::Engine(Model& model, const EngineOptions& options)
    : Engine(model, options.kv_type, limits_for(model, options)) {}

Engine::Engine(Model& model, DType kv_type, const EngineLimits& limits)
    : Engine(std::make_unique<ModelRunner>(model, state_size(limits, kv_type)), limits) {}

}  // namespace krasis
