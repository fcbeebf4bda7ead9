#include "text/jinja/object.h"

#include "text/jinja/operators.h"
#include "text/jinja/runtime.h"

namespace krasis::jinja {

Value Object::attribute(Runtime&, std::string_view) {
  return {};
}

Value Object::call(Runtime& runtime, const Arguments&) {
  runtime.fail(std::string("a value of type ") + type_name() + " cannot be called");
}

std::optional<std::size_t> Object::length(Runtime&) {
  return std::nullopt;
}

std::string Object::repr(Runtime&) {
  return std::string("<") + type_name() + " object>";
}

Range::Range(std::int64_t start, std::int64_t stop, std::int64_t step)
    : Object(ObjectKind::Range), start_(start), stop_(stop), step_(step), size_(0) {
  // Unsigned, because the distance of two 64-bit integers may not fit a signed one.
  const auto first = static_cast<std::uint64_t>(start);
  const auto last = static_cast<std::uint64_t>(stop);
  const auto stride = static_cast<std::uint64_t>(step);
  if (step > 0 && start < stop) size_ = (last - first - 1) / stride + 1;
  if (step < 0 && start > stop) size_ = (first - last - 1) / (0 - stride) + 1;
}

std::int64_t Range::at(std::size_t index) const {
  // Unsigned, because step * index alone may leave the signed range.
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(start_) +
                                   static_cast<std::uint64_t>(step_) * index);
}

std::optional<std::size_t> Range::length(Runtime&) {
  return size_;
}

std::string Range::repr(Runtime&) {
  std::string result = "range(" + std::to_string(start_) + ", " + std::to_string(stop_);
  if (step_ != 1) result += ", " + std::to_string(step_);
  return result + ")";
}

const char* DictView::type_name() const {
  switch (part_) {
    case DictPart::Keys:
      return "dict_keys";
    case DictPart::Values:
      return "dict_values";
    case DictPart::Items:
      return "dict_items";
  }
  return "dict view";
}

std::optional<std::size_t> DictView::length(Runtime&) {
  return dict_->size();
}

std::string DictView::repr(Runtime& runtime) {
  const Runtime::Nested nested(runtime);
  std::string result = std::string(type_name()) + "([";
  for (std::size_t i = 0; i < dict_->size(); ++i) {
    const Dict::Entry& entry = dict_->entries()[i];
    if (i > 0) result += ", ";
    if (part_ == DictPart::Items) result += "(";
    if (part_ != DictPart::Values) result += jinja::repr(runtime, entry.key);
    if (part_ == DictPart::Items) result += ", ";
    if (part_ != DictPart::Keys) result += jinja::repr(runtime, entry.value);
    if (part_ == DictPart::Items) result += ")";
  }
  return result + "])";
}

Value Namespace::attribute(Runtime&, std::string_view name) {
  const Value* found = attributes_.find(name);
  return found == nullptr ? Value() : *found;
}

std::string Namespace::repr(Runtime& runtime) {
  const Runtime::Nested nested(runtime);
  std::string result = "<Namespace {";
  for (const Dict::Entry& entry : attributes_.entries()) {
    if (result.back() != '{') result += ", ";
    result += jinja::repr(runtime, entry.key) + ": " + jinja::repr(runtime, entry.value);
  }
  return result + "}>";
}

}  // namespace krasis::jinja
