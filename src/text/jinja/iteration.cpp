#include "text/jinja/iteration.h"

#include <utility>

namespace krasis::jinja {
namespace {

// Sees items that are appended while it runs, as Python's does.
class SequenceIterator final : public Iterator {
 public:
  explicit SequenceIterator(const Sequence* sequence) : sequence_(sequence) {}
  bool next(Runtime&, Value& out) override {
    if (position_ >= sequence_->items.size()) return false;
    out = sequence_->items[position_++];
    return true;
  }

 private:
  const Sequence* sequence_;
  std::size_t position_ = 0;
};

class OwningIterator final : public Iterator {
 public:
  explicit OwningIterator(std::vector<Value> items) : items_(std::move(items)) {}
  bool next(Runtime&, Value& out) override {
    if (position_ >= items_.size()) return false;
    out = std::move(items_[position_++]);
    return true;
  }

 private:
  std::vector<Value> items_;
  std::size_t position_ = 0;
};

class TextIterator final : public Iterator {
 public:
  explicit TextIterator(TextPtr text) : text_(std::move(text)) {}
  bool next(Runtime& runtime, Value& out) override {
    if (position_ >= text_->bytes.size()) return false;
    const std::size_t start = position_;
    next_code_point(text_->bytes, position_);
    out = runtime.string(text_->bytes.substr(start, position_ - start), text_->markup);
    return true;
  }

 private:
  TextPtr text_;
  std::size_t position_ = 0;
};

class RangeIterator final : public Iterator {
 public:
  explicit RangeIterator(const Range& range) : range_(range) {}
  bool next(Runtime&, Value& out) override {
    if (position_ >= range_.size()) return false;
    out = Value::integer(range_.at(position_++));
    return true;
  }

 private:
  const Range& range_;
  std::size_t position_ = 0;
};

class DictIterator final : public Iterator {
 public:
  DictIterator(const Dict& dict, DictPart part) : dict_(dict), part_(part), size_(dict.size()) {}
  bool next(Runtime& runtime, Value& out) override {
    if (dict_.size() != size_) runtime.fail("a dict changed its size while it was iterated over");
    if (position_ >= size_) return false;
    const Dict::Entry& entry = dict_.entries()[position_++];
    switch (part_) {
      case DictPart::Keys:
        out = entry.key;
        break;
      case DictPart::Values:
        out = entry.value;
        break;
      case DictPart::Items:
        out = runtime.tuple({entry.key, entry.value});
        break;
    }
    return true;
  }

 private:
  const Dict& dict_;
  DictPart part_;
  std::size_t size_;
  std::size_t position_ = 0;
};

Iterator* iterate_object(Runtime& runtime, Object& object) {
  switch (object.kind()) {
    case ObjectKind::Iterator:
      return static_cast<Iterator*>(&object);
    case ObjectKind::Range:
      return runtime.make<RangeIterator>(static_cast<const Range&>(object));
    case ObjectKind::DictView: {
      const auto& view = static_cast<const DictView&>(object);
      return runtime.make<DictIterator>(view.dict(), view.part());
    }
    default:
      return nullptr;
  }
}

}  // namespace

bool is_iterable(const Value& value) {
  switch (value.kind()) {
    case Kind::Undefined:
    case Kind::String:
    case Kind::List:
    case Kind::Tuple:
    case Kind::Dict:
      return true;
    case Kind::Object:
      return value.object().kind() != ObjectKind::Plain &&
             value.object().kind() != ObjectKind::Namespace;
    default:
      return false;
  }
}

Iterator& iterate(Runtime& runtime, const Value& value) {
  Iterator* result = nullptr;
  switch (value.kind()) {
    case Kind::Undefined:
      result = runtime.make<OwningIterator>(std::vector<Value>{});
      break;
    case Kind::String:
      result = runtime.make<TextIterator>(value.text_ptr());
      break;
    case Kind::List:
    case Kind::Tuple:
      result = runtime.make<SequenceIterator>(&value.sequence());
      break;
    case Kind::Dict:
      result = runtime.make<DictIterator>(value.dict(), DictPart::Keys);
      break;
    case Kind::Object:
      result = iterate_object(runtime, value.object());
      break;
    default:
      break;
  }
  if (result == nullptr)
    runtime.fail(std::string("a value of type ") + type_name(value) + " cannot be iterated over");
  return *result;
}

std::vector<Value> collect(Runtime& runtime, const Value& value) {
  Iterator& iterator = iterate(runtime, value);
  std::vector<Value> result;
  for (Value item; iterator.next(runtime, item);) {
    runtime.step();
    runtime.charge(sizeof(Value));
    result.push_back(std::move(item));
  }
  return result;
}

Value generator(Runtime& runtime, std::vector<Value> items) {
  return Value::object(runtime.make<OwningIterator>(std::move(items)));
}

}  // namespace krasis::jinja
