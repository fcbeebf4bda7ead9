#include "text/jinja/runtime.h"

#include "base/error.h"

namespace krasis::jinja {

void Runtime::fail(const std::string& what) const {
  throw Error(ErrorCode::InvalidArgument,
              "chat template: " + name_ + ":" + std::to_string(line_) + ": " + what);
}

void Runtime::fail_steps() const {
  fail("more than " + std::to_string(limits_.steps) +
       " steps: the template loops too long for these messages");
}

void Runtime::fail_created() const {
  fail("more than " + std::to_string(limits_.created_bytes) +
       " bytes of strings and lists were made: the template repeats or copies too much");
}

void Runtime::fail_depth() {
  --depth_;  // the guard whose constructor failed has no destructor call
  fail("more than " + std::to_string(limits_.depth) +
       " nested evaluations: a macro or a loop calls itself without end");
}

void Runtime::charge_repeated(std::size_t bytes, std::size_t times) {
  std::size_t total = 0;
  if (__builtin_mul_overflow(bytes, times, &total)) fail_created();
  charge(total);
}

Value Runtime::string(std::string bytes, bool markup) {
  charge(bytes.size() + sizeof(Text));
  return Value::string(make_text(std::move(bytes), markup));
}

Sequence* Runtime::sequence(std::vector<Value> items) {
  charge(sizeof(Sequence) + items.size() * sizeof(Value));
  sequences_.push_back({std::move(items)});
  return &sequences_.back();
}

Value Runtime::list(std::vector<Value> items) {
  return Value::list(sequence(std::move(items)));
}
Value Runtime::tuple(std::vector<Value> items) {
  return Value::tuple(sequence(std::move(items)));
}

Value Runtime::dict() {
  charge(sizeof(Dict));
  return Value::dict(&dicts_.emplace_back());
}

}  // namespace krasis::jinja
