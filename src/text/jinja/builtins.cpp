// The functions every template can call.
#include <algorithm>
#include <array>
#include <ctime>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/iteration.h"
#include "text/jinja/methods.h"
#include "text/jinja/operators.h"

namespace krasis::jinja {
namespace {

Value range(NativeCall& call) {
  Runtime& runtime = call.runtime();
  const std::int64_t start = call.given(1) ? call.integer(0) : 0;
  const std::int64_t stop = call.given(1) ? call.integer(1) : call.integer(0);
  const std::int64_t step = call.integer(2, 1);
  if (step == 0) call.fail("the step cannot be zero");
  Range* result = runtime.make<Range>(start, stop, step);
  if (result->size() > static_cast<std::size_t>(kMaxRange))
    call.fail("more than " + std::to_string(kMaxRange) + " numbers");
  return Value::object(result);
}

void fill_dict(NativeCall& call, Dict& dict) {
  const Arguments& arguments = call.arguments();
  if (arguments.positional.size() > 1) call.fail("takes one dict or list of pairs");
  const auto store = [&](const Value& key, const Value& value) {
    if (!hashable(key))
      call.fail(std::string("a value of type ") + type_name(key) + " cannot be a key");
    call.runtime().charge(sizeof(Dict::Entry));
    dict.set(key, value);
  };
  for (const Value& source : arguments.positional) {
    if (source.is(Kind::Dict)) {
      for (const Dict::Entry& entry : source.dict().entries()) store(entry.key, entry.value);
      continue;
    }
    for (const Value& pair : collect(call.runtime(), source)) {
      const std::vector<Value> parts = collect(call.runtime(), pair);
      if (parts.size() != 2) call.fail("needs pairs of a key and a value");
      store(parts[0], parts[1]);
    }
  }
  for (const auto& [name, value] : arguments.named) store(Value::string(name), value);
}

Value make_dict(NativeCall& call) {
  Value result = call.runtime().dict();
  fill_dict(call, result.dict());
  return result;
}

Value make_namespace(NativeCall& call) {
  Namespace* result = call.runtime().make<Namespace>();
  fill_dict(call, result->attributes());
  return Value::object(result);
}

class Cycler final : public Object {
 public:
  explicit Cycler(std::vector<Value> items) : items_(std::move(items)) {}
  const char* type_name() const override { return "cycler"; }
  Value attribute(Runtime& runtime, std::string_view name) override;
  Value next() {
    Value result = items_[position_];
    position_ = (position_ + 1) % items_.size();
    return result;
  }
  void reset() { position_ = 0; }

 private:
  std::vector<Value> items_;
  std::size_t position_ = 0;
};

Cycler& cycler_of(NativeCall& call) {
  return static_cast<Cycler&>(call.self().object());
}

constexpr NativeRow kCyclerNext = {"next", [](NativeCall& c) { return cycler_of(c).next(); }, ""};
constexpr NativeRow kCyclerReset = {"reset",
                                    [](NativeCall& c) {
                                      cycler_of(c).reset();
                                      return Value::none();
                                    },
                                    ""};

Value Cycler::attribute(Runtime& runtime, std::string_view name) {
  if (name == "current") return items_[position_];
  if (name == "pos") return Value::integer(static_cast<std::int64_t>(position_));
  if (name == "items") return runtime.tuple(items_);
  if (name == "next") return make_function(runtime, kCyclerNext, Value::object(this));
  if (name == "reset") return make_function(runtime, kCyclerReset, Value::object(this));
  return {};
}

Value make_cycler(NativeCall& call) {
  if (call.arguments().positional.empty() || !call.arguments().named.empty())
    call.fail("needs at least one item");
  return Value::object(call.runtime().make<Cycler>(call.arguments().positional));
}

class Joiner final : public Object {
 public:
  explicit Joiner(Value separator) : separator_(std::move(separator)) {}
  const char* type_name() const override { return "joiner"; }
  bool callable() const override { return true; }
  Value call(Runtime& runtime, const Arguments&) override {
    return std::exchange(used_, true) ? separator_ : runtime.string(std::string());
  }

 private:
  Value separator_;
  bool used_ = false;
};

Value make_joiner(NativeCall& call) {
  const Value separator = call.given(0) ? call[0] : call.runtime().string(std::string(", "));
  return Value::object(call.runtime().make<Joiner>(separator));
}

Value raise_exception(NativeCall& call) {
  call.runtime().fail(to_text(call.runtime(), call[0]));
}

std::string zero_padded(int value, std::size_t width) {
  std::string digits = std::to_string(value);
  return std::string(width > digits.size() ? width - digits.size() : 0, '0') + digits;
}

std::tm calendar(const LocalTime& now) {
  std::tm tm{};
  tm.tm_year = now.year - 1900;
  tm.tm_mon = now.month - 1;
  tm.tm_mday = now.day;
  tm.tm_hour = now.hour;
  tm.tm_min = now.minute;
  tm.tm_sec = now.second;
  std::tm with_days = tm;
  timegm(&with_days);  // fills in the day of the week and of the year
  tm.tm_wday = with_days.tm_wday;
  tm.tm_yday = with_days.tm_yday;
  return tm;
}

// The C library's strftime, as Python uses it; a clock without a time zone leaves %z and %Z empty,
// and %f (microseconds) is Python's own.
Value strftime_now(NativeCall& call) {
  const LocalTime& now = call.runtime().now();
  const std::string& given = call.text(0).bytes;
  std::string format;
  for (std::size_t i = 0; i < given.size(); ++i) {
    if (given[i] == '\0') call.fail("the format contains a zero byte");
    if (given[i] != '%' || i + 1 == given.size()) {
      format += given[i];
      continue;
    }
    const char directive = given[++i];
    if (directive == 'f') {
      format += zero_padded(now.microsecond, 6);
    } else if (directive != 'z' && directive != 'Z') {
      format += {'%', directive};
    }
  }
  if (format.empty()) return call.runtime().string(std::string());
  const std::tm tm = calendar(now);
  // A leading blank tells an empty result from a buffer that is too small.
  format.insert(0, 1, ' ');
  for (std::size_t size = format.size() * 4 + 64; size <= format.size() * 256 + 1024; size *= 4) {
    std::string buffer(size, '\0');
    const std::size_t written = std::strftime(buffer.data(), buffer.size(), format.c_str(), &tm);
    call.runtime().charge(size);
    if (written == 0) continue;
    buffer.resize(written);
    if (!valid_utf8(buffer)) break;
    return call.runtime().string(buffer.substr(1));
  }
  call.fail("the format '" + given + "' does not give a time");
}

// clang-format off
constexpr std::array kBuiltins = {
    NativeRow{"range", range, "/ start stop? step?"},
    NativeRow{"dict", make_dict, "*"},
    NativeRow{"namespace", make_namespace, "*"},
    NativeRow{"cycler", make_cycler, "*"},
    NativeRow{"joiner", make_joiner, "sep?"},
    NativeRow{"raise_exception", raise_exception, "message"},
    NativeRow{"strftime_now", strftime_now, "format"},
};
// clang-format on

}  // namespace

std::span<const NativeRow> global_functions() {
  return kBuiltins;
}

}  // namespace krasis::jinja
