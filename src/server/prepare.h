// From a request's body to answers under way: parsing, rendering, tokenizing, submitting. Slow for
// long prompts, so it runs on the worker's thread.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "server/api_error.h"
#include "server/api_request.h"
#include "server/generation.h"
#include "server/served_model.h"

namespace krasis::server {

enum class Endpoint { Chat, Completions };

// How many answers may be under way or waiting. Thread-safe.
class Places {
 public:
  void set_limit(std::int64_t limit) { limit_ = limit; }
  bool try_take(std::int64_t count);
  void give_back(std::int64_t count) { taken_ -= count; }
  std::int64_t limit() const { return limit_; }

 private:
  std::atomic<std::int64_t> taken_{0};
  std::atomic<std::int64_t> limit_{0};
};

// Answers under way. Gives up those that are not finished, and their places, when it goes.
class Choices {
 public:
  Choices() = default;
  Choices(Places& places, std::int64_t count) : places_(&places), taken_(count) {}
  Choices(Choices&& other) noexcept;
  Choices& operator=(Choices&& other) noexcept;
  ~Choices();

  void add(std::shared_ptr<Generation> generation) { all_.push_back(std::move(generation)); }
  const std::vector<std::shared_ptr<Generation>>& all() const { return all_; }

 private:
  Places* places_ = nullptr;
  std::int64_t taken_ = 0;
  std::vector<std::shared_ptr<Generation>> all_;
};

struct Prepared {
  GenerationOptions options;
  Choices choices;
  std::vector<std::string> echo;   // of each choice: the prompt's text, if it is to be repeated
  std::int64_t prompt_tokens = 0;  // each prompt counted once
};

// Throws Error for what cannot be served; nullopt-like `full` if there is no place left.
struct PrepareResult {
  bool full = false;
  Prepared prepared;
};

PrepareResult prepare(Endpoint endpoint, const std::string& body, const ServedModel& model,
                      Places& places, const std::function<void()>& wake);

}  // namespace krasis::server
