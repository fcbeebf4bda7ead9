// Text to token ids and back, from a model folder's tokenizer.json and tokenizer_config.json. Equal
// to the tokenizers library (0.23) id for id, for BPE models; what is not supported is refused by
// name when loading. All const methods may be called from several threads at once.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/tokenizer_json.h"

namespace krasis::text {

struct EncodeOptions {
  // Puts the post-processor's tokens around the text; besides, the bos (eos) token where
  // tokenizer_config.json has add_bos_token (add_eos_token) and the template has not put it there.
  bool add_special_tokens = false;
  // Whether special tokens that are spelled in the text become their ids or stay text. Added tokens
  // that are not special ("<think>") are always recognised, as in the reference.
  bool parse_special_tokens = true;
};

struct NamedToken {
  std::string text;
  std::optional<std::int32_t> id;  // none where the vocabulary does not have it
};

class Tokenizer {
 public:
  // Reads `directory`/tokenizer.json and the optional files of read_tokenizer_config.
  static Tokenizer load(const std::filesystem::path& directory);
  // `name` is how errors call the file.
  static Tokenizer from_json(std::string_view tokenizer_json, TokenizerConfig config = {},
                             const std::string& name = "tokenizer.json");

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  // The ids of `text`. Bytes that are not UTF-8 are read as U+FFFD, one for each maximal ill-formed
  // part. Error(InvalidArgument) above 1 GiB; Error(Unsupported) where one of the file's regular
  // expressions would need excessive time on this text.
  std::vector<std::int32_t> encode(std::string_view text, EncodeOptions options = {}) const;

  // The text of `ids`: always valid UTF-8, incomplete sequences as U+FFFD. Ids outside the
  // vocabulary stand for nothing, as in the reference.
  std::string decode(std::span<const std::int32_t> ids, bool skip_special = false) const;

  // One more than the largest id.
  std::int64_t vocab_size() const;
  std::optional<std::int32_t> id_of(std::string_view token) const;
  // How the file spells a token (byte-level tokens in the byte-level alphabet), or nothing.
  std::optional<std::string_view> token(std::int32_t id) const;
  // What a token contributes to the text, taken alone: possibly a part of a character.
  std::string token_bytes(std::int32_t id) const;
  bool is_special(std::int32_t id) const;

  const std::optional<NamedToken>& bos() const;
  const std::optional<NamedToken>& eos() const;
  const std::optional<NamedToken>& pad() const;
  const std::optional<NamedToken>& unk() const;
  // The first is the default one, where there is one.
  const std::vector<ChatTemplateSource>& chat_templates() const;
  // The template of that name, or nothing.
  const std::string* chat_template(std::string_view name = "default") const;

 private:
  friend class Detokenizer;
  struct State;
  explicit Tokenizer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace krasis::text
