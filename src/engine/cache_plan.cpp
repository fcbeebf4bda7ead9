#include "engine/cache_plan.h"

#include <algorithm>
#include <fmt/core.h>
#include <fstream>
#include <string>

#include "base/error.h"

namespace krasis {
namespace {

constexpr std::int64_t kMaxPages = std::int64_t{1} << 30;  // page numbers are 32-bit

void check_options(const EngineOptions& options, const CacheFacts& facts) {
  const auto require = [](bool good, const char* name, std::int64_t value, const char* range) {
    if (!good) {
      throw Error(ErrorCode::InvalidArgument,
                  fmt::format("engine: {} is {}, choose {}", name, value, range));
    }
  };
  require(options.max_sequences >= 1 && options.max_sequences <= 4096, "max_sequences",
          options.max_sequences, "1 to 4096");
  require(options.prompt_chunk >= 1 && options.prompt_chunk <= 65536, "prompt_chunk",
          options.prompt_chunk, "1 to 65536");
  require(options.page_tokens >= 1 && options.page_tokens <= 4096, "page_tokens",
          options.page_tokens, "1 to 4096");
  require(options.context_length >= 0, "context_length", options.context_length,
          "a positive number, or 0 for the model's own");
  if (options.context_length > facts.model_context) {
    throw Error(ErrorCode::InvalidArgument,
                fmt::format("engine: context_length is {}, but the model was made for {} tokens; "
                            "choose at most that",
                            options.context_length, facts.model_context));
  }
}

std::int64_t pages_for(std::int64_t tokens, std::int64_t page_tokens) {
  return (tokens + page_tokens - 1) / page_tokens;
}

}  // namespace

EngineLimits plan_cache(const EngineOptions& options, const CacheFacts& facts) {
  check_options(options, facts);
  EngineLimits limits{
      .context_length = options.context_length > 0 ? options.context_length : facts.model_context,
      .max_sequences = options.max_sequences,
      .prompt_chunk = options.prompt_chunk,
      .page_tokens = options.page_tokens,
      .pages = 0};
  ensure(limits.context_length > 0, "engine: the model has no context length");

  std::size_t budget = options.cache_bytes;
  if (budget == 0) {
    const std::size_t slots = facts.slot_bytes * static_cast<std::size_t>(options.max_sequences);
    budget = facts.free_bytes / 4 > slots ? facts.free_bytes / 4 - slots : 0;
  }
  const std::int64_t one = pages_for(limits.context_length, limits.page_tokens);
  // Without attention layers a page costs nothing: page numbers are then only bookkeeping.
  const auto affordable =
      facts.page_bytes == 0 ? kMaxPages
                            : static_cast<std::int64_t>(std::min<std::size_t>(
                                  budget / facts.page_bytes, static_cast<std::size_t>(kMaxPages)));
  const std::int64_t needed = options.context_length > 0 ? one : 1;
  if (affordable < needed) {
    throw Error(ErrorCode::OutOfMemory,
                fmt::format("engine: key-value cache: {} tokens need {} bytes, {} bytes are "
                            "allowed; choose a smaller context length or a larger cache",
                            options.context_length > 0 ? limits.context_length : limits.page_tokens,
                            static_cast<std::size_t>(needed) * facts.page_bytes, budget));
  }
  limits.pages = std::min(affordable, one * limits.max_sequences);
  limits.context_length = std::min(limits.context_length, limits.pages * limits.page_tokens);
  return limits;
}

std::size_t available_memory_bytes() {
  std::ifstream file("/proc/meminfo");
  std::string key;
  std::size_t kibibytes = 0;
  while (file >> key) {
    if (key == "MemAvailable:" && file >> kibibytes) return kibibytes * 1024;
    std::getline(file, key);
  }
  return 0;
}

}  // namespace krasis
