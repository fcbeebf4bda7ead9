// How many pages of key-value cache an engine gets, and for which context length: arithmetic only.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/engine.h"

namespace krasis {

struct CacheFacts {
  std::int64_t model_context = 0;  // tokens the model was made for
  std::size_t page_bytes = 0;      // over all layers; 0: no layer keeps keys and values
  std::size_t slot_bytes = 0;      // recurrent state of one sequence
  std::size_t free_bytes = 0;      // of memory, now
};

// Pages for max_sequences sequences of the context length, or as many as fit the budget:
// options.cache_bytes, or a quarter of the free memory less the slots. options.context_length == 0
// takes the model's own and shrinks it to what the budget holds. Throws Error(InvalidArgument) for
// options that mean nothing or a context longer than the model's, Error(OutOfMemory) if the budget
// does not hold one sequence of the context length asked for (or one page).
EngineLimits plan_cache(const EngineOptions& options, const CacheFacts& facts);

// MemAvailable of /proc/meminfo; 0 if it cannot be read.
std::size_t available_memory_bytes();

}  // namespace krasis
