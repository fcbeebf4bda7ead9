#include "formats/tokenizer_sax.h"

#include <fmt/format.h>
#include <utility>

#include "base/error.h"
#include "formats/json_problem.h"

namespace krasis {

void TokenizerSax::fail(const std::string& path, const std::string& what) const {
  throw Error(ErrorCode::Corrupt, fmt::format("tokenizer: {}: {}: {}", file_.name, path, what));
}

void TokenizerSax::fail_here() const {
  if (inside_ == Inside::Vocabulary) {
    fail(fmt::format("model.vocab[\"{}\"]", token_),
         fmt::format("is not an integer from 0 to {}", max_id_));
  }
  fail(fmt::format("model.merges[{}]", bpe_.merges.size()),
       "is neither \"left right\" nor [left, right]");
}

bool TokenizerSax::at_model_member(const char* name) const {
  return open_.size() == 2 && open_[1]->is_object() && keys_[0] == "model" && keys_[1] == name;
}

bool TokenizerSax::value(Json v) {
  if (inside_ != Inside::Rest) fail_here();
  if (open_.empty()) {
    rest_ = std::move(v);
  } else if (open_.back()->is_array()) {
    open_.back()->push_back(std::move(v));
  } else {
    (*open_.back())[keys_.back()] = std::move(v);
  }
  return true;
}

bool TokenizerSax::push(Json container) {
  value(std::move(container));
  if (open_.empty()) {
    open_.push_back(&rest_);
  } else if (open_.back()->is_array()) {
    open_.push_back(&open_.back()->back());
  } else {
    open_.push_back(&(*open_.back())[keys_.back()]);
  }
  keys_.emplace_back();
  return true;
}

bool TokenizerSax::pop() {
  open_.pop_back();
  keys_.pop_back();
  return true;
}

bool TokenizerSax::number_unsigned(Json::number_unsigned_t v) {
  if (inside_ != Inside::Vocabulary) return value(Json(v));
  if (v > static_cast<Json::number_unsigned_t>(max_id_)) fail_here();
  bpe_.vocabulary.push_back({std::move(token_), static_cast<std::int32_t>(v)});
  return true;
}

bool TokenizerSax::string(Json::string_t& v) {
  if (inside_ == Inside::Merges) {
    merge_line(v);
  } else if (inside_ == Inside::Merge) {
    merge_.push_back(std::move(v));
  } else {
    return value(Json(std::move(v)));
  }
  return true;
}

void TokenizerSax::merge_line(const std::string& line) {
  if (line.starts_with("#version")) return;
  const std::size_t space = line.find(' ');
  if (space == std::string::npos || line.find(' ', space + 1) != std::string::npos) fail_here();
  bpe_.merges.push_back({line.substr(0, space), line.substr(space + 1)});
}

bool TokenizerSax::start_object(std::size_t) {
  if (inside_ == Inside::Rest && at_model_member("vocab")) {
    inside_ = Inside::Vocabulary;
    has_vocabulary_ = true;
    bpe_.vocabulary.clear();
    return true;
  }
  return push(Json::object());
}

bool TokenizerSax::end_object() {
  if (inside_ != Inside::Vocabulary) return pop();
  inside_ = Inside::Rest;
  return true;
}

bool TokenizerSax::start_array(std::size_t) {
  if (inside_ == Inside::Rest && at_model_member("merges")) {
    inside_ = Inside::Merges;
    has_merges_ = true;
    bpe_.merges.clear();
    return true;
  }
  if (inside_ == Inside::Merges) {
    inside_ = Inside::Merge;
    merge_.clear();
    return true;
  }
  return push(Json::array());
}

bool TokenizerSax::end_array() {
  if (inside_ == Inside::Merge) {
    if (merge_.size() != 2) fail_here();
    bpe_.merges.push_back({std::move(merge_[0]), std::move(merge_[1])});
    inside_ = Inside::Merges;
    return true;
  }
  if (inside_ != Inside::Merges) return pop();
  inside_ = Inside::Rest;
  return true;
}

bool TokenizerSax::key(Json::string_t& v) {
  if (inside_ == Inside::Vocabulary) {
    token_ = std::move(v);
  } else {
    keys_.back() = std::move(v);
  }
  return true;
}

bool TokenizerSax::parse_error(std::size_t, const std::string&, const Json::exception& error) {
  throw Error(ErrorCode::Corrupt, fmt::format("tokenizer: {}: {}; download it again", file_.name,
                                              json_problem(file_.bytes, error)));
}

}  // namespace krasis
