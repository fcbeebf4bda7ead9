// Values with behaviour: functions, methods, macros, iterators, ranges, views, namespaces.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/value.h"

namespace krasis::jinja {

class Runtime;

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<TextPtr, Value>> named;
};

enum class ObjectKind : std::uint8_t { Plain, Iterator, Range, DictView, Namespace };

class Object {
 public:
  explicit Object(ObjectKind kind = ObjectKind::Plain) : kind_(kind) {}
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;
  virtual ~Object() = default;

  ObjectKind kind() const { return kind_; }
  virtual const char* type_name() const = 0;
  // The attribute, or Missing.
  virtual Value attribute(Runtime& runtime, std::string_view name);
  virtual bool callable() const { return false; }
  virtual Value call(Runtime& runtime, const Arguments& arguments);
  virtual std::optional<std::size_t> length(Runtime& runtime);
  virtual std::string repr(Runtime& runtime);

 private:
  ObjectKind kind_;
};

// A generator or iterator: consumed once, always true, has no length.
class Iterator : public Object {
 public:
  Iterator() : Object(ObjectKind::Iterator) {}
  const char* type_name() const override { return "generator"; }
  virtual bool next(Runtime& runtime, Value& out) = 0;
  // Items to come where that is known without consuming them.
  virtual std::optional<std::size_t> remaining() const { return std::nullopt; }
};

class Range final : public Object {
 public:
  Range(std::int64_t start, std::int64_t stop, std::int64_t step);  // step != 0
  const char* type_name() const override { return "range"; }
  std::optional<std::size_t> length(Runtime& runtime) override;
  std::string repr(Runtime& runtime) override;
  std::size_t size() const { return size_; }
  std::int64_t at(std::size_t index) const;
  std::int64_t start() const { return start_; }
  std::int64_t step() const { return step_; }

 private:
  std::int64_t start_;
  std::int64_t stop_;
  std::int64_t step_;
  std::size_t size_;
};

enum class DictPart : std::uint8_t { Keys, Values, Items };

class DictView final : public Object {
 public:
  DictView(Dict* dict, DictPart part) : Object(ObjectKind::DictView), dict_(dict), part_(part) {}
  const char* type_name() const override;
  std::optional<std::size_t> length(Runtime& runtime) override;
  std::string repr(Runtime& runtime) override;
  Dict& dict() const { return *dict_; }
  DictPart part() const { return part_; }

 private:
  Dict* dict_;
  DictPart part_;
};

class Namespace final : public Object {
 public:
  Namespace() : Object(ObjectKind::Namespace) {}
  const char* type_name() const override { return "namespace"; }
  Value attribute(Runtime& runtime, std::string_view name) override;
  std::string repr(Runtime& runtime) override;
  Dict& attributes() { return attributes_; }

 private:
  Dict attributes_;
};

}  // namespace krasis::jinja
