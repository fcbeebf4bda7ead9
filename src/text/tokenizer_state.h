// What a Tokenizer holds; for tokenizer.cpp and detokenizer.cpp only.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/decoder.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"
#include "text/string_index.h"
#include "text/tokenizer.h"

namespace krasis::text {

// Strings by id.
class TokenTable {
 public:
  void resize(std::size_t ids) { entries_.resize(ids); }
  void set(std::int32_t id, std::string_view text);
  std::optional<std::string_view> get(std::int32_t id) const;

 private:
  struct Entry {
    std::uint64_t offset = 0;
    std::uint32_t length = 0;
    bool present = false;
  };
  std::string text_;
  std::vector<Entry> entries_;
};

// What one call of encode() writes to.
struct EncodeScratch {
  std::string repaired;
  std::vector<TokenCut> raw_cuts;
  std::vector<TokenCut> normalized_cuts;
  NormalizerScratch normalizer;
  PreTokenizerScratch pre_tokenizer;
};

// Scratches that wait for the next call; as many as there ever were calls at the same time.
class ScratchPool {
 public:
  std::unique_ptr<EncodeScratch> take();
  void give(std::unique_ptr<EncodeScratch> scratch);

 private:
  std::mutex free_mutex_;
  std::vector<std::unique_ptr<EncodeScratch>> free_;
};

struct Tokenizer::State {
  State(const TokenizerSpec& spec, TokenizerConfig the_config, const std::string& name);

  using AddedById = std::map<std::int32_t, const AddedTokenSpec*>;

  void add_tokens(const TokenizerSpec& spec);
  void add_matchers(const TokenizerSpec& spec, const AddedById& by_id);
  void set_decoding(std::int32_t id, std::string_view token);
  void encode_text(std::string_view text, bool parse_special, EncodeScratch& scratch,
                   std::vector<std::int32_t>& ids) const;
  void add_special_tokens(std::vector<std::int32_t>& ids) const;
  std::optional<NamedToken> named(const std::optional<std::string>& text) const;
  std::optional<std::int32_t> id_of(std::string_view token) const;
  // What an id gives to the decoder stream.
  void push(DecodeStream& stream, std::int32_t id, bool skip_special, std::string& out) const;

  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  BpeModel model;
  Decoder decoder;
  std::vector<TemplateSpec> templates;
  TokenizerConfig config;
  std::optional<NamedToken> bos, eos, pad, unk;

  StringIndex added;                          // contents of added tokens
  std::unique_ptr<AddedTokenMatcher> raw;     // searched for in the text itself
  std::unique_ptr<AddedTokenMatcher> normal;  // and in the normalized text
  TokenTable spelling;                        // as in the file
  TokenTable decoding;                // bytes, where the decoder is ByteLevel alone, else strings
  std::vector<std::uint8_t> special;  // [vocab_size], 1 where skip_special skips it
  mutable ScratchPool pool;
};

}  // namespace krasis::text
