// The values a template computes with. Strings are shared and immutable; lists, tuples, dicts and
// objects belong to the render's Heap and are referred to by plain pointers, so that lists which
// contain themselves cost nothing special and nothing is freed before the render ends.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "text/jinja/text.h"

namespace krasis::jinja {

class Object;
class Dict;
struct Sequence;

enum class Kind : std::uint8_t {
  Missing,  // an unset variable slot or an argument not given; never seen by a template
  Undefined,
  None,
  Bool,
  Int,
  Float,
  String,
  List,
  Tuple,
  Dict,
  Object,
};

class Value {
 public:
  Value() = default;  // Missing
  static Value none() { return Value(Kind::None); }
  static Value boolean(bool b);
  static Value integer(std::int64_t i);
  static Value number(double d);
  static Value string(TextPtr text);
  static Value list(Sequence* items);
  static Value tuple(Sequence* items);
  static Value dict(Dict* dict);
  static Value object(Object* object);
  // An Undefined whose use fails with "'NAME' is undefined".
  static Value undefined_name(TextPtr name);
  // ... with "OWNER has no attribute 'NAME'"; `owner` is a literal.
  static Value undefined_member(const char* owner, TextPtr name);
  // ... with `hint`, a literal or text that is the whole message.
  static Value undefined_hint(std::string hint);

  Kind kind() const { return kind_; }
  bool is(Kind kind) const { return kind_ == kind; }
  bool is_missing() const { return kind_ == Kind::Missing; }
  bool is_undefined() const { return kind_ == Kind::Undefined; }
  bool is_none() const { return kind_ == Kind::None; }
  bool is_string() const { return kind_ == Kind::String; }
  bool is_integral() const { return kind_ == Kind::Int || kind_ == Kind::Bool; }
  bool is_number() const { return is_integral() || kind_ == Kind::Float; }
  bool is_sequence() const { return kind_ == Kind::List || kind_ == Kind::Tuple; }

  // Each requires the matching kind.
  bool as_bool() const { return payload_.integer != 0; }
  std::int64_t as_int() const { return payload_.integer; }  // Int or Bool
  double as_float() const { return payload_.number; }
  double to_double() const {  // any number
    return kind_ == Kind::Float ? payload_.number : static_cast<double>(payload_.integer);
  }
  const Text& text() const { return *text_; }
  const TextPtr& text_ptr() const { return text_; }
  std::string_view bytes() const { return text_->bytes; }
  Sequence& sequence() const { return *payload_.sequence; }  // List or Tuple
  const std::vector<Value>& items() const;
  Dict& dict() const { return *payload_.dict; }
  Object& object() const { return *payload_.object; }
  bool same_object(const Value& other) const;  // Python's `is`

  std::string undefined_message() const;

 private:
  explicit Value(Kind kind) : kind_(kind) {}

  union Payload {
    std::int64_t integer;
    double number;
    Sequence* sequence;
    Dict* dict;
    Object* object;
    const char* owner;
  };
  Kind kind_ = Kind::Missing;
  Payload payload_{};
  TextPtr text_;
};

struct Sequence {
  std::vector<Value> items;
  bool group = false;  // a tuple of `groupby`: items 0 and 1 are also .grouper and .list
};

// Python's dict: insertion order, keys equal as Python's == has them.
class Dict {
 public:
  struct Entry {
    Value key;
    Value value;
    std::size_t hash;
  };
  const std::vector<Entry>& entries() const { return entries_; }
  std::size_t size() const { return entries_.size(); }
  const Value* find(const Value& key) const;  // null if absent or if the key has no hash
  const Value* find(std::string_view key) const;
  void set(const Value& key, Value value);  // the key must be hashable
  bool erase(const Value& key);
  void clear();

 private:
  std::size_t index_of(const Value& key, std::size_t hash) const;
  void reindex();

  std::vector<Entry> entries_;
  // hash -> position in entries_, kept only above a size where scanning gets slow
  std::unordered_multimap<std::size_t, std::size_t> index_;
};

// Not lists, dicts, tuples that contain one, and tuples of more than 64 values in all.
bool hashable(const Value& value);
std::size_t hash_value(const Value& value);  // requires hashable
// == of two hashable values, which cannot contain themselves.
bool equal_keys(const Value& a, const Value& b);

// The type's name as Python's error messages print it.
const char* type_name(const Value& value);

inline Value Value::boolean(bool b) {
  Value v(Kind::Bool);
  v.payload_.integer = b ? 1 : 0;
  return v;
}
inline Value Value::integer(std::int64_t i) {
  Value v(Kind::Int);
  v.payload_.integer = i;
  return v;
}
inline Value Value::number(double d) {
  Value v(Kind::Float);
  v.payload_.number = d;
  return v;
}
inline Value Value::string(TextPtr text) {
  Value v(Kind::String);
  v.text_ = std::move(text);
  return v;
}
inline Value Value::list(Sequence* items) {
  Value v(Kind::List);
  v.payload_.sequence = items;
  return v;
}
inline Value Value::tuple(Sequence* items) {
  Value v(Kind::Tuple);
  v.payload_.sequence = items;
  return v;
}
inline Value Value::dict(Dict* dict) {
  Value v(Kind::Dict);
  v.payload_.dict = dict;
  return v;
}
inline Value Value::object(Object* object) {
  Value v(Kind::Object);
  v.payload_.object = object;
  return v;
}
inline Value Value::undefined_name(TextPtr name) {
  Value v(Kind::Undefined);
  v.text_ = std::move(name);
  return v;
}
inline Value Value::undefined_member(const char* owner, TextPtr name) {
  Value v(Kind::Undefined);
  v.payload_.owner = owner;
  v.text_ = std::move(name);
  return v;
}
inline const std::vector<Value>& Value::items() const {
  return payload_.sequence->items;
}

}  // namespace krasis::jinja
