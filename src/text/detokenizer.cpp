#include "text/detokenizer.h"

#include "text/tokenizer_state.h"

namespace krasis::text {

Detokenizer::Detokenizer(const Tokenizer& tokenizer, bool skip_special)
    : tokenizer_(&tokenizer), skip_special_(skip_special), stream_(tokenizer.state_->decoder) {}

std::string Detokenizer::push(std::int32_t id) {
  std::string text;
  tokenizer_->state_->push(stream_, id, skip_special_, text);
  return text;
}

std::string Detokenizer::finish() {
  std::string text;
  stream_.finish(text);
  return text;
}

}  // namespace krasis::text
