#include "text/tokenizer.h"

#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "text/byte_level.h"
#include "text/tokenizer_state.h"
#include "text/utf8.h"

namespace krasis::text {
namespace {

constexpr std::size_t kMaxTextBytes = std::size_t{1} << 30;  // symbols are counted in 32 bits

// A scratch for the length of one call.
class Lease {
 public:
  explicit Lease(ScratchPool& pool) : pool_(pool), scratch_(pool.take()) {}
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;
  ~Lease() { pool_.give(std::move(scratch_)); }
  EncodeScratch& operator*() const { return *scratch_; }

 private:
  ScratchPool& pool_;
  std::unique_ptr<EncodeScratch> scratch_;
};

std::string_view part(std::string_view text, const TokenCut& cut) {
  return text.substr(cut.begin, cut.end - cut.begin);
}

std::vector<std::int32_t> apply_template(const TemplateSpec& items,
                                         const std::vector<std::int32_t>& ids) {
  std::vector<std::int32_t> result;
  for (const TemplateItem& item : items) {
    const std::vector<std::int32_t>& added = item.ids ? *item.ids : ids;
    result.insert(result.end(), added.begin(), added.end());
  }
  return result;
}

}  // namespace

void TokenTable::set(std::int32_t id, std::string_view text) {
  Entry& entry = entries_[static_cast<std::size_t>(id)];
  entry = {text_.size(), static_cast<std::uint32_t>(text.size()), true};
  text_.append(text);
}

std::optional<std::string_view> TokenTable::get(std::int32_t id) const {
  if (id < 0 || static_cast<std::size_t>(id) >= entries_.size()) return std::nullopt;
  const Entry& entry = entries_[static_cast<std::size_t>(id)];
  if (!entry.present) return std::nullopt;
  return std::string_view(text_).substr(entry.offset, entry.length);
}

std::unique_ptr<EncodeScratch> ScratchPool::take() {
  const std::lock_guard lock(free_mutex_);
  if (free_.empty()) return std::make_unique<EncodeScratch>();
  std::unique_ptr<EncodeScratch> scratch = std::move(free_.back());
  free_.pop_back();
  return scratch;
}

void ScratchPool::give(std::unique_ptr<EncodeScratch> scratch) {
  scratch->pre_tokenizer.model.trim();
  const std::lock_guard lock(free_mutex_);
  free_.push_back(std::move(scratch));
}

Tokenizer::State::State(const TokenizerSpec& spec, TokenizerConfig the_config,
                        const std::string& name)
    : normalizer(spec.normalizers),
      pre_tokenizer(spec.pre_tokenizers),
      model(spec.model, name),
      decoder(spec),
      templates(spec.templates),
      config(std::move(the_config)) {
  add_tokens(spec);
  bos = named(config.bos_token);
  eos = named(config.eos_token);
  pad = named(config.pad_token);
  unk = named(config.unk_token);
}

// Ids of added tokens follow the reference: a token of the vocabulary keeps its id, the others are
// numbered on from the size of the vocabulary, in file order, whatever the file says.
void Tokenizer::State::add_tokens(const TokenizerSpec& spec) {
  std::int32_t max_id = -1;
  for (const VocabularyEntry& entry : spec.model.vocabulary) max_id = std::max(max_id, entry.id);
  std::size_t bytes = 0;
  for (const AddedTokenSpec& token : spec.added_tokens) bytes += token.content.size();
  added.reserve(spec.added_tokens.size(), bytes);
  auto next_id = static_cast<std::int32_t>(model.vocabulary_size());
  AddedById by_id;
  for (const AddedTokenSpec& token : spec.added_tokens) {
    if (token.content.empty()) continue;
    std::optional<std::int32_t> id = id_of(token.content);
    if (!id) id = next_id++;
    added.insert(token.content, *id);
    by_id[*id] = &token;
    max_id = std::max(max_id, *id);
  }
  const auto size = static_cast<std::size_t>(std::int64_t{max_id} + 1);
  spelling.resize(size);
  decoding.resize(size);
  special.assign(size, 0);
  for (const VocabularyEntry& entry : spec.model.vocabulary) {
    spelling.set(entry.id, entry.token);
    set_decoding(entry.id, entry.token);
  }
  add_matchers(spec, by_id);
}

void Tokenizer::State::add_matchers(const TokenizerSpec& spec, const AddedById& by_id) {
  std::set<std::string_view> special_contents;
  for (const AddedTokenSpec& token : spec.added_tokens) {
    if (token.special) special_contents.insert(token.content);
  }
  std::vector<AddedToken> raw_tokens;
  std::vector<AddedToken> normalized_tokens;
  NormalizerScratch scratch;
  RegexScratch regex;
  for (const auto& [id, token] : by_id) {
    AddedToken entry{.id = id,
                     .pattern = token->content,
                     .special = special_contents.contains(token->content),
                     .single_word = token->single_word,
                     .lstrip = token->lstrip,
                     .rstrip = token->rstrip};
    if (token->normalized)
      entry.pattern = std::string(normalizer.apply(token->content, scratch, regex));
    spelling.set(id, token->content);
    set_decoding(id, entry.pattern);
    special[static_cast<std::size_t>(id)] = special_contents.contains(entry.pattern) ? 1 : 0;
    (token->normalized ? normalized_tokens : raw_tokens).push_back(std::move(entry));
  }
  raw = std::make_unique<AddedTokenMatcher>(std::move(raw_tokens));
  normal = std::make_unique<AddedTokenMatcher>(std::move(normalized_tokens));
}

void Tokenizer::State::set_decoding(std::int32_t id, std::string_view token) {
  const std::optional<std::string> bytes =
      decoder.is_byte_level_only() ? from_byte_level(token) : std::nullopt;
  decoding.set(id, bytes ? std::string_view(*bytes) : token);
}

std::optional<std::int32_t> Tokenizer::State::id_of(std::string_view token) const {
  if (const std::optional<std::int32_t> id = added.find(token)) return id;
  return model.id_of(token);
}

std::optional<NamedToken> Tokenizer::State::named(const std::optional<std::string>& text) const {
  if (!text) return std::nullopt;
  return NamedToken{.text = *text, .id = id_of(*text)};
}

void Tokenizer::State::push(DecodeStream& stream, std::int32_t id, bool skip_special,
                            std::string& out) const {
  const std::optional<std::string_view> token = decoding.get(id);
  if (!token || (skip_special && special[static_cast<std::size_t>(id)] != 0)) return;
  if (decoder.is_byte_level_only()) {
    stream.push_bytes(*token, out);
  } else {
    stream.push(*token, out);
  }
}

void Tokenizer::State::encode_text(std::string_view text, bool parse_special,
                                   EncodeScratch& scratch, std::vector<std::int32_t>& ids) const {
  raw->cut(text, parse_special, scratch.raw_cuts);
  for (const TokenCut& outer : scratch.raw_cuts) {
    if (outer.id >= 0) {
      ids.push_back(outer.id);
      continue;
    }
    const std::string_view normalized =
        normalizer.apply(part(text, outer), scratch.normalizer, scratch.pre_tokenizer.regex);
    normal->cut(normalized, parse_special, scratch.normalized_cuts);
    for (const TokenCut& inner : scratch.normalized_cuts) {
      if (inner.id >= 0) {
        ids.push_back(inner.id);
        continue;
      }
      const bool is_start = outer.begin == 0 && inner.begin == 0;
      pre_tokenizer.encode(part(normalized, inner), is_start, model, scratch.pre_tokenizer, ids);
    }
  }
}

void Tokenizer::State::add_special_tokens(std::vector<std::int32_t>& ids) const {
  for (const TemplateSpec& items : templates) ids = apply_template(items, ids);
  if (config.add_bos_token && bos && bos->id && (ids.empty() || ids.front() != *bos->id))
    ids.insert(ids.begin(), *bos->id);
  if (config.add_eos_token && eos && eos->id && (ids.empty() || ids.back() != *eos->id))
    ids.push_back(*eos->id);
}

Tokenizer::Tokenizer(std::unique_ptr<State> state) : state_(std::move(state)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::load(const std::filesystem::path& directory) {
  const std::filesystem::path file = directory / "tokenizer.json";
  return from_json(read_file(file), read_tokenizer_config(directory), file.string());
}

Tokenizer Tokenizer::from_json(std::string_view tokenizer_json, TokenizerConfig config,
                               const std::string& name) {
  const TokenizerSpec spec = parse_tokenizer_json(tokenizer_json, name);
  return Tokenizer(std::make_unique<State>(spec, std::move(config), name));
}

std::vector<std::int32_t> Tokenizer::encode(std::string_view text, EncodeOptions options) const {
  if (text.size() > kMaxTextBytes) {
    throw Error(ErrorCode::InvalidArgument,
                fmt::format("tokenizer: the text has {} bytes, at most {} are encoded at once",
                            text.size(), kMaxTextBytes));
  }
  const Lease lease(state_->pool);
  std::vector<std::int32_t> ids;
  const std::string_view valid = utf8::make_valid(text, (*lease).repaired);
  state_->encode_text(valid, options.parse_special_tokens, *lease, ids);
  if (options.add_special_tokens) state_->add_special_tokens(ids);
  return ids;
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids, bool skip_special) const {
  DecodeStream stream(state_->decoder);
  std::string text;
  for (const std::int32_t id : ids) state_->push(stream, id, skip_special, text);
  stream.finish(text);
  return text;
}

std::int64_t Tokenizer::vocab_size() const {
  return static_cast<std::int64_t>(state_->special.size());
}

std::optional<std::int32_t> Tokenizer::id_of(std::string_view token) const {
  return state_->id_of(token);
}

std::optional<std::string_view> Tokenizer::token(std::int32_t id) const {
  return state_->spelling.get(id);
}

std::string Tokenizer::token_bytes(std::int32_t id) const {
  const std::optional<std::string_view> token = state_->decoding.get(id);
  if (!token) return "";
  if (state_->decoder.is_byte_level_only()) return std::string(*token);
  return state_->decoder.token_bytes(*token);
}

bool Tokenizer::is_special(std::int32_t id) const {
  return state_->decoding.get(id) && state_->special[static_cast<std::size_t>(id)] != 0;
}

const std::optional<NamedToken>& Tokenizer::bos() const {
  return state_->bos;
}
const std::optional<NamedToken>& Tokenizer::eos() const {
  return state_->eos;
}
const std::optional<NamedToken>& Tokenizer::pad() const {
  return state_->pad;
}
const std::optional<NamedToken>& Tokenizer::unk() const {
  return state_->unk;
}

const std::vector<ChatTemplateSource>& Tokenizer::chat_templates() const {
  return state_->config.chat_templates;
}

const std::string* Tokenizer::chat_template(std::string_view name) const {
  for (const ChatTemplateSource& source : state_->config.chat_templates) {
    if (source.name == name) return &source.text;
  }
  return nullptr;
}

}  // namespace krasis::text
