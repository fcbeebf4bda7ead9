// The reading of tokenizer.json in one pass: the two large parts, model.vocab and model.merges, go
// straight into a BpeSpec, all the rest becomes a small JSON document. Ten times fewer allocations
// than a document of the whole file. For tokenizer_json.cpp only.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "formats/tokenizer_json.h"

namespace krasis {

struct TokenizerFile {
  const std::string& name;
  std::string_view bytes;
};

// The handler that nlohmann::json::sax_parse calls. Every problem is thrown as Error(Corrupt).
class TokenizerSax {
 public:
  using Json = nlohmann::json;

  TokenizerSax(const TokenizerFile& file, std::int64_t max_id, BpeSpec& bpe)
      : file_(file), max_id_(max_id), bpe_(bpe) {}

  const Json& rest() const { return rest_; }
  bool has_vocabulary() const { return has_vocabulary_; }
  bool has_merges() const { return has_merges_; }

  bool null() { return value(Json(nullptr)); }
  bool boolean(bool v) { return value(Json(v)); }
  bool number_integer(Json::number_integer_t v) { return value(Json(v)); }
  bool number_unsigned(Json::number_unsigned_t v);
  bool number_float(Json::number_float_t v, const Json::string_t&) { return value(Json(v)); }
  bool string(Json::string_t& v);
  bool binary(Json::binary_t&) { return value(Json(nullptr)); }  // JSON text has none
  bool start_object(std::size_t);
  bool end_object();
  bool start_array(std::size_t);
  bool end_array();
  bool key(Json::string_t& v);
  bool parse_error(std::size_t position, const std::string& token, const Json::exception& error);

 private:
  enum class Inside { Rest, Vocabulary, Merges, Merge };

  bool value(Json v);
  bool push(Json container);
  bool pop();
  bool at_model_member(const char* name) const;
  void merge_line(const std::string& line);
  [[noreturn]] void fail(const std::string& path, const std::string& what) const;
  [[noreturn]] void fail_here() const;

  TokenizerFile file_;
  std::int64_t max_id_;
  BpeSpec& bpe_;
  Json rest_;
  std::vector<Json*> open_;        // containers of rest_, outermost first
  std::vector<std::string> keys_;  // the key last seen in each of them
  Inside inside_ = Inside::Rest;
  std::string token_;               // the key of the vocabulary entry being read
  std::vector<std::string> merge_;  // the parts of the [left, right] being read
  bool has_vocabulary_ = false;
  bool has_merges_ = false;
};

}  // namespace krasis
