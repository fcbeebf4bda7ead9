// The pre-tokenizers of a tokenizer file: cut a normalized text into the words that the model
// encodes one by one. Each step cuts every piece that the step before it left.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "formats/tokenizer_json.h"
#include "text/bpe.h"
#include "text/regex.h"
#include "text/unicode.h"
#include "text/word_scanner.h"

namespace krasis::text {

struct Cut {
  Span span;
  bool is_match = false;
};

// Merges the parts of a text, which cover it in order, as `behavior` says, and keeps what is a
// piece. Source: the tokenizers library's NormalizedString::split.
void apply_behavior(SplitBehavior behavior, std::vector<Cut>& cuts);

struct PreTokenizerScratch {
  RegexScratch regex;
  BpeScratch model;
  std::vector<std::vector<Cut>> cuts;  // one for each step
  std::vector<std::string> texts;      // likewise, of steps that write a new text
};

class PreTokenizer {
 public:
  explicit PreTokenizer(const std::vector<PreTokenizerSpec>& specs);

  // Appends the ids of `text` (valid UTF-8). `is_start` says that `text` starts the whole input.
  void encode(std::string_view text, bool is_start, const BpeModel& model,
              PreTokenizerScratch& scratch, std::vector<std::int32_t>& ids) const;

 private:
  struct ByWords {  // Isolated matches of a pattern that a scanner knows
    WordScanner scanner;
  };
  struct ByPattern {
    Regex pattern;
    SplitBehavior behavior;
    bool invert;
  };
  struct ByClass {  // single characters with any of the class bits
    std::uint8_t bits;
    SplitBehavior behavior;
    std::span<const unicode::Range> exceptions;  // characters that are the other way round
  };
  struct ByCharacter {
    std::string character;
    SplitBehavior behavior;
  };
  struct PrefixSpace {};
  struct ToByteLevel {};  // writes the piece in the byte-level alphabet
  struct ToMetaspace {
    std::string replacement;
    PrependScheme prepend;
  };
  using Step =
      std::variant<ByWords, ByPattern, ByClass, ByCharacter, PrefixSpace, ToByteLevel, ToMetaspace>;
  struct Output;

  void add(const SplitSpec& spec);
  void add(const ByteLevelSpec& spec);
  void add(const DigitsSpec& spec);
  void add(const PunctuationSpec& spec);
  void add(const WhitespaceSpec& spec);
  void add(const WhitespaceSplitSpec& spec);
  void add(const MetaspaceSpec& spec);

  void run(std::size_t step, std::string_view piece, bool is_start, Output& output) const;
  void cut_words(std::size_t step, std::string_view piece, bool is_start, Output& output) const;
  void cut_pattern(std::size_t step, std::string_view piece, bool is_start, Output& output) const;
  void cut_characters(std::size_t step, std::string_view piece, bool is_start,
                      Output& output) const;
  std::string_view rewrite(std::size_t step, std::string_view piece, bool is_start,
                           Output& output) const;

  std::vector<Step> steps_;
  bool byte_level_model_ = false;  // the last step was ToByteLevel and is left to the model
};

}  // namespace krasis::text
