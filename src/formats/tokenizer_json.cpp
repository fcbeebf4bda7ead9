#include "formats/tokenizer_json.h"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "formats/json_problem.h"
#include "formats/tokenizer_sax.h"

namespace krasis {
namespace {

using Json = nlohmann::json;

constexpr std::int64_t kMaxId = (std::int64_t{1} << 24) - 1;  // a table is indexed by id
constexpr int kMaxNesting = 16;                               // nested Sequences

// A JSON value and how to name it in an error.
class Node {
 public:
  Node(const Json& value, const std::string& file, std::string path)
      : value_(&value), file_(&file), path_(std::move(path)) {}

  const Json& json() const { return *value_; }

  [[noreturn]] void fail(ErrorCode code, const std::string& what) const {
    const std::string place = path_.empty() ? "" : path_ + ": ";
    throw Error(code, fmt::format("tokenizer: {}: {}{}", *file_, place, what));
  }
  [[noreturn]] void corrupt(const std::string& what) const { fail(ErrorCode::Corrupt, what); }

  // The member `key`, or nothing where it is absent or null.
  std::optional<Node> find(const std::string& key) const {
    if (!value_->is_object()) corrupt(fmt::format("is {}, not an object", value_->type_name()));
    const auto it = value_->find(key);
    if (it == value_->end() || it->is_null()) return std::nullopt;
    return Node(*it, *file_, path_.empty() ? key : path_ + "." + key);
  }
  Node at(const std::string& key) const {
    std::optional<Node> found = find(key);
    if (!found) corrupt(fmt::format("has no \"{}\"", key));
    return *found;
  }
  std::vector<Node> items() const {
    if (!value_->is_array()) corrupt(fmt::format("is {}, not an array", value_->type_name()));
    std::vector<Node> nodes;
    for (std::size_t i = 0; i < value_->size(); ++i)
      nodes.emplace_back((*value_)[i], *file_, fmt::format("{}[{}]", path_, i));
    return nodes;
  }
  std::string text() const {
    if (!value_->is_string()) corrupt(fmt::format("is {}, not a string", value_->type_name()));
    return value_->get<std::string>();
  }
  bool flag() const {
    if (!value_->is_boolean()) corrupt(fmt::format("is {}, not a boolean", value_->type_name()));
    return value_->get<bool>();
  }
  std::int64_t integer(std::int64_t max) const {
    const bool good = value_->is_number_integer() && *value_ >= 0 && *value_ <= max;
    if (!good) corrupt(fmt::format("is {}, not an integer from 0 to {}", value_->dump(), max));
    return value_->get<std::int64_t>();
  }
  std::int32_t id() const { return static_cast<std::int32_t>(integer(kMaxId)); }
  // Exactly one code point.
  std::string character() const {
    std::string c = text();
    const auto starts =
        std::count_if(c.begin(), c.end(), [](char b) { return (b & 0xC0) != 0x80; });
    if (starts != 1) corrupt(fmt::format("is \"{}\", not one character", c));
    return c;
  }

  bool flag(const std::string& key, bool otherwise) const {
    const std::optional<Node> found = find(key);
    return found ? found->flag() : otherwise;
  }
  std::string text(const std::string& key, const std::string& otherwise) const {
    const std::optional<Node> found = find(key);
    return found ? found->text() : otherwise;
  }

 private:
  const Json* value_;
  const std::string* file_;
  std::string path_;
};

PatternSpec parse_pattern(const Node& node) {
  PatternSpec pattern;
  if (const auto text = node.find("String")) {
    pattern.text = text->text();
  } else {
    pattern = {.is_regex = true, .text = node.at("Regex").text()};
  }
  if (pattern.text.empty()) node.corrupt("is an empty pattern");
  return pattern;
}

SplitBehavior parse_behavior(const Node& node) {
  const std::string name = node.text();
  if (name == "Removed") return SplitBehavior::Removed;
  if (name == "Isolated") return SplitBehavior::Isolated;
  if (name == "MergedWithPrevious") return SplitBehavior::MergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::MergedWithNext;
  if (name == "Contiguous") return SplitBehavior::Contiguous;
  node.fail(ErrorCode::Unsupported, fmt::format("split behavior \"{}\" is not supported", name));
}

ReplaceSpec parse_replace(const Node& node) {
  return {.pattern = parse_pattern(node.at("pattern")), .content = node.at("content").text()};
}

ByteLevelSpec parse_byte_level(const Node& node) {
  return {.add_prefix_space = node.at("add_prefix_space").flag(),
          .use_regex = node.flag("use_regex", true)};
}

MetaspaceSpec parse_metaspace(const Node& node) {
  MetaspaceSpec metaspace{.replacement = node.at("replacement").character(),
                          .split = node.flag("split", true)};
  const std::string scheme = node.text("prepend_scheme", "");
  if (scheme == "first") metaspace.prepend = PrependScheme::First;
  if (scheme == "never") metaspace.prepend = PrependScheme::Never;
  if (scheme != "" && scheme != "first" && scheme != "never" && scheme != "always") {
    node.fail(ErrorCode::Unsupported,
              fmt::format("prepend_scheme \"{}\" is not supported", scheme));
  }
  if (!node.flag("add_prefix_space", true)) metaspace.prepend = PrependScheme::Never;
  return metaspace;
}

[[noreturn]] void refuse(const Node& node, const char* kind, const std::string& type) {
  node.fail(ErrorCode::Unsupported, fmt::format("{} \"{}\" is not supported", kind, type));
}

// Calls `one` for `node`, or for each of its parts where it is a Sequence, whose list is `list`.
template <class One>
void for_each_part(const Node& node, const char* list, int depth, const One& one) {
  if (depth > kMaxNesting) node.fail(ErrorCode::Unsupported, "is nested too deeply");
  const std::string type = node.at("type").text();
  if (type != "Sequence") return one(node, type);
  for (const Node& part : node.at(list).items()) for_each_part(part, list, depth + 1, one);
}

NormalizerSpec parse_normalizer(const Node& node, const std::string& type) {
  if (type == "NFC") return UnicodeForm::Nfc;
  if (type == "NFD") return UnicodeForm::Nfd;
  if (type == "NFKC") return UnicodeForm::Nfkc;
  if (type == "NFKD") return UnicodeForm::Nfkd;
  if (type == "Lowercase") return LowercaseSpec{};
  if (type == "Replace") return parse_replace(node);
  if (type == "Prepend") return PrependSpec{.text = node.at("prepend").text()};
  if (type == "Strip")
    return StripSpec{.left = node.at("strip_left").flag(), .right = node.at("strip_right").flag()};
  refuse(node, "normalizer", type);
}

PreTokenizerSpec parse_pre_tokenizer(const Node& node, const std::string& type) {
  if (type == "Split") {
    return SplitSpec{.pattern = parse_pattern(node.at("pattern")),
                     .behavior = parse_behavior(node.at("behavior")),
                     .invert = node.flag("invert", false)};
  }
  if (type == "ByteLevel") return parse_byte_level(node);
  if (type == "Digits") return DigitsSpec{.individual = node.flag("individual_digits", false)};
  if (type == "Punctuation") {
    const auto behavior = node.find("behavior");
    return PunctuationSpec{.behavior =
                               behavior ? parse_behavior(*behavior) : SplitBehavior::Isolated};
  }
  if (type == "Whitespace") return WhitespaceSpec{};
  if (type == "WhitespaceSplit") return WhitespaceSplitSpec{};
  if (type == "Metaspace") return parse_metaspace(node);
  refuse(node, "pre-tokenizer", type);
}

DecoderSpec parse_decoder(const Node& node, const std::string& type) {
  if (type == "ByteLevel") return parse_byte_level(node);
  if (type == "ByteFallback") return ByteFallbackSpec{};
  if (type == "Fuse") return FuseSpec{};
  if (type == "Replace") return parse_replace(node);
  if (type == "Metaspace") return parse_metaspace(node);
  if (type == "Strip") {
    constexpr std::int64_t kMaxStrip = 1 << 20;  // far beyond any token
    return StripTokenSpec{.content = node.at("content").character(),
                          .start = static_cast<std::size_t>(node.at("start").integer(kMaxStrip)),
                          .stop = static_cast<std::size_t>(node.at("stop").integer(kMaxStrip))};
  }
  refuse(node, "decoder", type);
}

TemplateSpec parse_template(const Node& node) {
  TemplateSpec items;
  const std::optional<Node> tokens = node.find("special_tokens");
  for (const Node& piece : node.at("single").items()) {
    if (const auto special = piece.find("SpecialToken")) {
      const std::string name = special->at("id").text();
      if (!tokens) node.corrupt("has no \"special_tokens\"");
      std::vector<std::int32_t> ids;
      for (const Node& id : tokens->at(name).at("ids").items()) ids.push_back(id.id());
      items.push_back({.ids = std::move(ids)});
    } else {
      const Node sequence = piece.at("Sequence").at("id");
      if (sequence.text() != "A")
        sequence.corrupt("is not \"A\", the only text that a single template has");
      items.push_back({});
    }
  }
  return items;
}

void parse_post_processor(const Node& node, const std::string& type, TokenizerSpec& spec) {
  if (type == "ByteLevel") return;  // it moves offsets only
  if (type != "TemplateProcessing") refuse(node, "post-processor", type);
  spec.templates.push_back(parse_template(node));
}

AddedTokenSpec parse_added_token(const Node& node) {
  return {.id = node.at("id").id(),
          .content = node.at("content").text(),
          .single_word = node.flag("single_word", false),
          .lstrip = node.flag("lstrip", false),
          .rstrip = node.flag("rstrip", false),
          .normalized = node.flag("normalized", true),
          .special = node.flag("special", false)};
}

void parse_model(const Node& model, const TokenizerSax& sax, BpeSpec& bpe) {
  const std::string type = model.text("type", "BPE");
  if (type != "BPE") refuse(model, "model", type);
  if (!sax.has_vocabulary()) model.corrupt("has no \"vocab\" object");
  if (!sax.has_merges()) model.corrupt("has no \"merges\" array");
  if (const auto dropout = model.find("dropout"); dropout && dropout->json() != 0.0) {
    dropout->fail(ErrorCode::Unsupported,
                  "a tokenizer that drops merges at random is not supported");
  }
  if (const auto unk = model.find("unk_token")) bpe.unk_token = unk->text();
  bpe.continuing_subword_prefix = model.text("continuing_subword_prefix", "");
  bpe.end_of_word_suffix = model.text("end_of_word_suffix", "");
  bpe.fuse_unk = model.flag("fuse_unk", false);
  bpe.byte_fallback = model.flag("byte_fallback", false);
  bpe.ignore_merges = model.flag("ignore_merges", false);
}

// A special token: a string, or an object with "content".
std::optional<std::string> parse_token(const Node& config, const char* key) {
  const std::optional<Node> token = config.find(key);
  if (!token) return std::nullopt;
  if (token->json().is_object()) return token->at("content").text();
  return token->text();
}

// A template alone, or a list of {name, template}.
std::vector<ChatTemplateSource> parse_chat_templates(const Node& node) {
  if (node.json().is_string()) return {{.name = "default", .text = node.text()}};
  std::vector<ChatTemplateSource> templates;
  for (const Node& item : node.items())
    templates.push_back({.name = item.at("name").text(), .text = item.at("template").text()});
  return templates;
}

Json parse_json(std::string_view bytes, const std::string& name) {
  try {
    return Json::parse(bytes);
  } catch (const Json::exception& error) {
    throw Error(ErrorCode::Corrupt, fmt::format("tokenizer: {}: {}; download it again", name,
                                                json_problem(bytes, error)));
  }
}

void set_default_template(TokenizerConfig& config, std::string text) {
  std::erase_if(config.chat_templates, [](const auto& t) { return t.name == "default"; });
  config.chat_templates.insert(config.chat_templates.begin(), {"default", std::move(text)});
}

void fill_from_special_tokens_map(const std::filesystem::path& file, TokenizerConfig& config) {
  const std::string name = file.string();
  const Json map = parse_json(read_file(file), name);
  const Node root(map, name, "");
  const auto fill = [&root](std::optional<std::string>& token, const char* key) {
    if (!token) token = parse_token(root, key);
  };
  fill(config.bos_token, "bos_token");
  fill(config.eos_token, "eos_token");
  fill(config.pad_token, "pad_token");
  fill(config.unk_token, "unk_token");
}

}  // namespace

TokenizerSpec parse_tokenizer_json(std::string_view bytes, const std::string& name) {
  TokenizerSpec spec;
  TokenizerSax sax({name, bytes}, kMaxId, spec.model);
  Json::sax_parse(bytes, &sax);
  const Node root(sax.rest(), name, "");
  if (const std::string version = root.text("version", "1.0"); version != "1.0")
    root.fail(ErrorCode::Unsupported, fmt::format("version \"{}\" is not 1.0", version));
  parse_model(root.at("model"), sax, spec.model);
  if (const auto tokens = root.find("added_tokens")) {
    for (const Node& token : tokens->items()) spec.added_tokens.push_back(parse_added_token(token));
  }
  if (const auto node = root.find("normalizer")) {
    for_each_part(*node, "normalizers", 0, [&spec](const Node& part, const std::string& type) {
      spec.normalizers.push_back(parse_normalizer(part, type));
    });
  }
  if (const auto node = root.find("pre_tokenizer")) {
    for_each_part(*node, "pretokenizers", 0, [&spec](const Node& part, const std::string& type) {
      spec.pre_tokenizers.push_back(parse_pre_tokenizer(part, type));
    });
  }
  if (const auto node = root.find("post_processor")) {
    for_each_part(*node, "processors", 0, [&spec](const Node& part, const std::string& type) {
      parse_post_processor(part, type, spec);
    });
  }
  if (const auto node = root.find("decoder")) {
    spec.has_decoder = true;
    for_each_part(*node, "decoders", 0, [&spec](const Node& part, const std::string& type) {
      spec.decoders.push_back(parse_decoder(part, type));
    });
  }
  return spec;
}

TokenizerConfig parse_tokenizer_config(std::string_view bytes, const std::string& name) {
  const Json json = parse_json(bytes, name);
  const Node root(json, name, "");
  TokenizerConfig config;
  config.bos_token = parse_token(root, "bos_token");
  config.eos_token = parse_token(root, "eos_token");
  config.pad_token = parse_token(root, "pad_token");
  config.unk_token = parse_token(root, "unk_token");
  config.add_bos_token = root.flag("add_bos_token", false);
  config.add_eos_token = root.flag("add_eos_token", false);
  if (const auto node = root.find("chat_template"))
    config.chat_templates = parse_chat_templates(*node);
  return config;
}

TokenizerConfig read_tokenizer_config(const std::filesystem::path& directory) {
  TokenizerConfig config;
  const std::filesystem::path main_file = directory / "tokenizer_config.json";
  if (std::filesystem::exists(main_file))
    config = parse_tokenizer_config(read_file(main_file), main_file.string());
  const std::filesystem::path map_file = directory / "special_tokens_map.json";
  if (std::filesystem::exists(map_file)) fill_from_special_tokens_map(map_file, config);
  const std::filesystem::path jinja_file = directory / "chat_template.jinja";
  const std::filesystem::path json_file = directory / "chat_template.json";
  if (std::filesystem::exists(jinja_file)) {
    set_default_template(config, read_file(jinja_file));
  } else if (std::filesystem::exists(json_file)) {
    const std::string name = json_file.string();
    const Json json = parse_json(read_file(json_file), name);
    set_default_template(config, Node(json, name, "").at("chat_template").text());
  }
  return config;
}

}  // namespace krasis
