// What one render owns: its values, its clock, what it has used of its limits, and where it is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/limits.h"
#include "text/jinja/object.h"
#include "text/jinja/value.h"

namespace krasis::jinja {

// The time that strftime_now shows.
struct LocalTime {
  int year = 1970;
  int month = 1;  // 1..12
  int day = 1;    // 1..31
  int hour = 0;
  int minute = 0;
  int second = 0;
  int microsecond = 0;
};

class Runtime {
 public:
  Runtime(std::string template_name, const Limits& limits, const LocalTime& now)
      : name_(std::move(template_name)), limits_(limits), now_(now) {}
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  // Throws Error(InvalidArgument, "chat template: NAME:LINE: what").
  [[noreturn]] void fail(const std::string& what) const;
  void step(std::uint64_t count = 1) {
    steps_ += count;
    if (steps_ > limits_.steps) fail_steps();
  }
  // Work that grows with the length of a string.
  void step_over(std::string_view bytes) { step(bytes.size() / 64); }
  // To be called before `bytes` are allocated.
  void charge(std::size_t bytes) {
    created_ += bytes;
    if (created_ > limits_.created_bytes || bytes > limits_.created_bytes) fail_created();
  }
  void charge_repeated(std::size_t bytes, std::size_t times);

  Value string(std::string bytes, bool markup = false);
  Value string(std::string_view bytes) { return string(std::string(bytes)); }
  Value list(std::vector<Value> items = {});
  Value tuple(std::vector<Value> items);
  Value dict();
  template <typename T, typename... Args>
  T* make(Args&&... args) {
    charge(sizeof(T));
    auto owned = std::make_unique<T>(std::forward<Args>(args)...);
    T* result = owned.get();
    objects_.push_back(std::move(owned));
    return result;
  }

  int line() const { return line_; }
  void set_line(int line) { line_ = line; }
  const Limits& limits() const { return limits_; }
  const LocalTime& now() const { return now_; }

  // One level of nesting in the C++ stack.
  class Nested {
   public:
    explicit Nested(Runtime& runtime) : runtime_(runtime) {
      if (++runtime_.depth_ > runtime_.limits_.depth) runtime_.fail_depth();
    }
    ~Nested() { --runtime_.depth_; }
    Nested(const Nested&) = delete;
    Nested& operator=(const Nested&) = delete;

   private:
    Runtime& runtime_;
  };

 private:
  Sequence* sequence(std::vector<Value> items);
  [[noreturn]] void fail_steps() const;
  [[noreturn]] void fail_created() const;
  [[noreturn]] void fail_depth();

  std::string name_;
  Limits limits_;
  LocalTime now_;
  std::uint64_t steps_ = 0;
  std::size_t created_ = 0;
  int depth_ = 0;
  int line_ = 1;
  std::deque<Sequence> sequences_;
  std::deque<Dict> dicts_;
  std::vector<std::unique_ptr<Object>> objects_;
};

}  // namespace krasis::jinja
