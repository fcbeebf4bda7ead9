#include "text/jinja/value.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "text/jinja/object.h"

namespace krasis::jinja {
namespace {

constexpr std::size_t kScanLimit = 12;  // up to here comparing hashes in a row beats a table
// Tuples nest and share parts: an unlimited key could take forever to hash.
constexpr int kMaxKeyParts = 64;
constexpr const char* kWholeMessage = "";

bool fits_int64(double d) {
  return std::floor(d) == d && d >= -0x1p63 && d < 0x1p63;
}

// Whether `value` can be a key of at most `parts` values, each of which is counted off.
bool hashable_within(const Value& value, int& parts) {
  if (value.is(Kind::List) || value.is(Kind::Dict) || --parts < 0) return false;
  if (!value.is(Kind::Tuple)) return true;
  const auto& items = value.items();
  return std::all_of(items.begin(), items.end(),
                     [&](const Value& item) { return hashable_within(item, parts); });
}

bool equal_numbers(const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral()) return a.as_int() == b.as_int();
  if (a.is(Kind::Float) && b.is(Kind::Float)) return a.as_float() == b.as_float();
  const double d = a.is(Kind::Float) ? a.as_float() : b.as_float();
  const std::int64_t i = a.is(Kind::Float) ? b.as_int() : a.as_int();
  return fits_int64(d) && static_cast<std::int64_t>(d) == i;
}

}  // namespace

Value Value::undefined_hint(std::string hint) {
  return undefined_member(kWholeMessage, make_text(std::move(hint)));
}

std::string Value::undefined_message() const {
  if (payload_.owner == nullptr) return "'" + text_->bytes + "' is undefined";
  if (payload_.owner == kWholeMessage) return text_->bytes;
  return std::string("a value of type ") + payload_.owner + " has no attribute or element '" +
         text_->bytes + "'";
}

bool Value::same_object(const Value& other) const {
  if (kind_ != other.kind_) return false;
  switch (kind_) {
    case Kind::Bool:
    case Kind::Int:
      return payload_.integer == other.payload_.integer;
    case Kind::Float:
      return payload_.number == other.payload_.number;
    case Kind::String:
      return text_ == other.text_ || text_->bytes == other.text_->bytes;
    case Kind::List:
    case Kind::Tuple:
      return payload_.sequence == other.payload_.sequence;
    case Kind::Dict:
      return payload_.dict == other.payload_.dict;
    case Kind::Object:
      return payload_.object == other.payload_.object;
    default:
      return true;
  }
}

bool hashable(const Value& value) {
  int parts = kMaxKeyParts;
  return hashable_within(value, parts);
}

std::size_t hash_value(const Value& value) {
  switch (value.kind()) {
    case Kind::Bool:
    case Kind::Int:
      return std::hash<std::int64_t>{}(value.as_int());
    case Kind::Float: {
      const double d = value.as_float();
      return fits_int64(d) ? std::hash<std::int64_t>{}(static_cast<std::int64_t>(d))
                           : std::hash<double>{}(d);
    }
    case Kind::String:
      return std::hash<std::string_view>{}(value.bytes());
    case Kind::Tuple: {
      std::size_t hash = 0x9E3779B9U;
      for (const Value& item : value.items()) hash = hash * 31 + hash_value(item);
      return hash;
    }
    case Kind::Object:
      return std::hash<const void*>{}(&value.object());
    default:
      return static_cast<std::size_t>(value.kind());
  }
}

bool equal_keys(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) return equal_numbers(a, b);
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::String:
      return a.bytes() == b.bytes();
    case Kind::Tuple:
      return std::equal(a.items().begin(), a.items().end(), b.items().begin(), b.items().end(),
                        equal_keys);
    case Kind::Object:
      return &a.object() == &b.object();
    default:
      return true;
  }
}

std::size_t Dict::index_of(const Value& key, std::size_t hash) const {
  if (index_.empty()) {
    for (std::size_t i = 0; i < entries_.size(); ++i)
      if (entries_[i].hash == hash && equal_keys(entries_[i].key, key)) return i;
    return entries_.size();
  }
  const auto [begin, end] = index_.equal_range(hash);
  for (auto it = begin; it != end; ++it)
    if (equal_keys(entries_[it->second].key, key)) return it->second;
  return entries_.size();
}

const Value* Dict::find(const Value& key) const {
  if (!hashable(key)) return nullptr;
  const std::size_t i = index_of(key, hash_value(key));
  return i < entries_.size() ? &entries_[i].value : nullptr;
}

const Value* Dict::find(std::string_view key) const {
  const std::size_t hash = std::hash<std::string_view>{}(key);
  const auto matches = [&](const Entry& e) {
    return e.hash == hash && e.key.is_string() && e.key.bytes() == key;
  };
  if (index_.empty()) {
    const auto it = std::find_if(entries_.begin(), entries_.end(), matches);
    return it == entries_.end() ? nullptr : &it->value;
  }
  const auto [begin, end] = index_.equal_range(hash);
  for (auto it = begin; it != end; ++it)
    if (matches(entries_[it->second])) return &entries_[it->second].value;
  return nullptr;
}

void Dict::set(const Value& key, Value value) {
  const std::size_t hash = hash_value(key);
  const std::size_t i = index_of(key, hash);
  if (i < entries_.size()) {
    entries_[i].value = std::move(value);
    return;
  }
  entries_.push_back({key, std::move(value), hash});
  if (!index_.empty()) {
    index_.emplace(hash, entries_.size() - 1);
  } else if (entries_.size() > kScanLimit) {
    reindex();
  }
}

bool Dict::erase(const Value& key) {
  if (!hashable(key)) return false;
  const std::size_t i = index_of(key, hash_value(key));
  if (i == entries_.size()) return false;
  entries_.erase(entries_.begin() + static_cast<std::ptrdiff_t>(i));
  if (!index_.empty()) reindex();
  return true;
}

void Dict::clear() {
  entries_.clear();
  index_.clear();
}

void Dict::reindex() {
  index_.clear();
  if (entries_.size() <= kScanLimit) return;
  for (std::size_t i = 0; i < entries_.size(); ++i) index_.emplace(entries_[i].hash, i);
}

const char* type_name(const Value& value) {
  switch (value.kind()) {
    case Kind::Missing:
    case Kind::Undefined:
      return "undefined";
    case Kind::None:
      return "none";
    case Kind::Bool:
      return "bool";
    case Kind::Int:
      return "int";
    case Kind::Float:
      return "float";
    case Kind::String:
      return "str";
    case Kind::List:
      return "list";
    case Kind::Tuple:
      return "tuple";
    case Kind::Dict:
      return "dict";
    case Kind::Object:
      return value.object().type_name();
  }
  return "value";
}

}  // namespace krasis::jinja
