// Token ids in, text out, one by one while a model generates. No call cuts a UTF-8 sequence, and
// what all calls return, put together, is Tokenizer::decode of all ids. A token costs time in
// proportion to its own length.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "text/decoder.h"
#include "text/tokenizer.h"

namespace krasis::text {

class Detokenizer {
 public:
  // `tokenizer` must outlive this.
  explicit Detokenizer(const Tokenizer& tokenizer, bool skip_special = false);

  // The text that is certain now; empty while a character is incomplete.
  std::string push(std::int32_t id);
  // The rest; an incomplete character becomes U+FFFD. Nothing may be pushed afterwards.
  std::string finish();

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_;
  DecodeStream stream_;
};

}  // namespace krasis::text
