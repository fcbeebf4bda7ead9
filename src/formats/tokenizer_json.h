// Hugging Face tokenizer files as plain data: tokenizer.json (format version 1.0 of the tokenizers
// library), tokenizer_config.json, special_tokens_map.json and the chat template files beside them.
// Nothing is computed here; src/text gives the components their meaning. A component type that is
// not listed here is refused by name with Error(Unsupported); bytes that are no such file give
// Error(Corrupt) with the file and the place (line and column, or the path of the JSON value).
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace krasis {

struct PatternSpec {
  bool is_regex = false;  // else: literal text
  std::string text;
};

// What becomes of a match when a text is split.
enum class SplitBehavior { Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous };

// Normalizers; a Sequence is flattened.
enum class UnicodeForm { Nfc, Nfd, Nfkc, Nfkd };
struct LowercaseSpec {};
struct ReplaceSpec {
  PatternSpec pattern;
  std::string content;
};
struct PrependSpec {
  std::string text;
};
struct StripSpec {
  bool left = true;
  bool right = true;
};
using NormalizerSpec =
    std::variant<UnicodeForm, LowercaseSpec, ReplaceSpec, PrependSpec, StripSpec>;

// Pre-tokenizers; a Sequence is flattened.
struct SplitSpec {
  PatternSpec pattern;
  SplitBehavior behavior = SplitBehavior::Isolated;
  bool invert = false;
};
struct ByteLevelSpec {
  bool add_prefix_space = true;
  bool use_regex = true;
};
struct DigitsSpec {
  bool individual = false;
};
struct PunctuationSpec {
  SplitBehavior behavior = SplitBehavior::Isolated;
};
struct WhitespaceSpec {};       // words and runs of other visible characters
struct WhitespaceSplitSpec {};  // at white space only
enum class PrependScheme { First, Never, Always };
struct MetaspaceSpec {
  std::string replacement = "\xE2\x96\x81";  // one code point
  PrependScheme prepend = PrependScheme::Always;
  bool split = true;
};
using PreTokenizerSpec = std::variant<SplitSpec, ByteLevelSpec, DigitsSpec, PunctuationSpec,
                                      WhitespaceSpec, WhitespaceSplitSpec, MetaspaceSpec>;

// Decoders; a Sequence is flattened.
struct ByteFallbackSpec {};
struct FuseSpec {};
struct StripTokenSpec {
  std::string content;  // one code point
  std::size_t start = 0;
  std::size_t stop = 0;
};
using DecoderSpec = std::variant<ByteLevelSpec, ByteFallbackSpec, FuseSpec, ReplaceSpec,
                                 StripTokenSpec, MetaspaceSpec>;

// Post-processors: what stands around one text. An item without ids is the text itself.
struct TemplateItem {
  std::optional<std::vector<std::int32_t>> ids;
};
using TemplateSpec = std::vector<TemplateItem>;

struct VocabularyEntry {
  std::string token;
  std::int32_t id = 0;
};
struct MergeSpec {
  std::string left;
  std::string right;
};
struct BpeSpec {
  std::vector<VocabularyEntry> vocabulary;  // in file order
  std::vector<MergeSpec> merges;            // by rank
  std::optional<std::string> unk_token;
  std::string continuing_subword_prefix;
  std::string end_of_word_suffix;
  bool fuse_unk = false;
  bool byte_fallback = false;
  bool ignore_merges = false;
};

struct AddedTokenSpec {
  std::int32_t id = 0;
  std::string content;
  bool single_word = false;
  bool lstrip = false;
  bool rstrip = false;
  bool normalized = true;
  bool special = false;
};

struct TokenizerSpec {
  std::vector<AddedTokenSpec> added_tokens;
  std::vector<NormalizerSpec> normalizers;
  std::vector<PreTokenizerSpec> pre_tokenizers;
  std::vector<TemplateSpec> templates;  // applied one after the other
  bool has_decoder = false;             // without one, tokens are joined by spaces
  std::vector<DecoderSpec> decoders;
  BpeSpec model;
};

// `name` is how the file is called in errors. `truncation` and `padding` are ignored: a runtime
// neither cuts nor pads a prompt. Ids are 0 to 2^24 - 1.
TokenizerSpec parse_tokenizer_json(std::string_view bytes, const std::string& name);

struct ChatTemplateSource {
  std::string name;  // "default" where the file gives none
  std::string text;
};

struct TokenizerConfig {
  std::optional<std::string> bos_token;
  std::optional<std::string> eos_token;
  std::optional<std::string> pad_token;
  std::optional<std::string> unk_token;
  bool add_bos_token = false;
  bool add_eos_token = false;
  std::vector<ChatTemplateSource> chat_templates;
};

TokenizerConfig parse_tokenizer_config(std::string_view bytes, const std::string& name);

// What the files of `directory` say, each one optional: tokenizer_config.json;
// special_tokens_map.json for tokens that the first does not name; then chat_template.jinja or
// chat_template.json, whose template takes the place of the "default" one of tokenizer_config.json.
TokenizerConfig read_tokenizer_config(const std::filesystem::path& directory);

}  // namespace krasis
