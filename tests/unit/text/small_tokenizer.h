// Small tokenizer files for tests.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "text/tokenizer.h"

namespace krasis::test {

// Byte-level, cut at spaces: "a" to "z", the space, "he", "ll", "hell", "hello" (in the vocabulary
// without a merge that makes it), and the special tokens <s> and </s>.
inline nlohmann::json small_tokenizer() {
  nlohmann::json vocabulary;
  for (char c = 'a'; c <= 'z'; ++c) vocabulary[std::string(1, c)] = c - 'a';
  const char* more[] = {"\u0120", "he", "ll", "hell", "hello", "\u00C3", "\u00A9"};
  for (const char* token : more) vocabulary[token] = vocabulary.size();
  const auto added = [](int id, const char* content, bool special) {
    return nlohmann::json{{"id", id},          {"content", content}, {"single_word", false},
                          {"lstrip", false},   {"rstrip", false},    {"normalized", false},
                          {"special", special}};
  };
  return {{"version", "1.0"},
          {"added_tokens",
           {added(33, "<s>", true), added(34, "</s>", true), added(35, "<think>", false)}},
          {"normalizer", nullptr},
          {"pre_tokenizer",
           {{"type", "Sequence"},
            {"pretokenizers",
             {{{"type", "Split"},
               {"pattern", {{"Regex", " ?[^ ]+| +"}}},
               {"behavior", "Isolated"},
               {"invert", false}},
              {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}}}}},
          {"post_processor", nullptr},
          {"decoder", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}},
          {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", {"h e", "l l", "he ll"}}}}};
}

// SentencePiece-style: spaces become U+2581, unknown characters bytes; one merge "▁ a".
inline nlohmann::json byte_fallback_tokenizer() {
  nlohmann::json vocabulary = {{"<unk>", 0}};
  const char* digits = "0123456789ABCDEF";
  for (int b = 0; b < 256; ++b)
    vocabulary[std::string("<0x") + digits[b / 16] + digits[b % 16] + ">"] = 1 + b;
  vocabulary["\u2581"] = 257;
  vocabulary["a"] = 258;
  vocabulary["\u2581a"] = 259;
  const nlohmann::json space_to_mark = {
      {"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "\u2581"}};
  const nlohmann::json mark_to_space = {
      {"type", "Replace"}, {"pattern", {{"String", "\u2581"}}}, {"content", " "}};
  return {{"version", "1.0"},
          {"normalizer",
           {{"type", "Sequence"},
            {"normalizers", {{{"type", "Prepend"}, {"prepend", "\u2581"}}, space_to_mark}}}},
          {"decoder",
           {{"type", "Sequence"},
            {"decoders",
             {mark_to_space,
              {{"type", "ByteFallback"}},
              {{"type", "Fuse"}},
              {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}}}}},
          {"model",
           {{"type", "BPE"},
            {"unk_token", "<unk>"},
            {"byte_fallback", true},
            {"fuse_unk", true},
            {"vocab", vocabulary},
            {"merges", nlohmann::json::array({nlohmann::json::array({"\u2581", "a"})})}}}};
}

inline text::Tokenizer make_tokenizer(const nlohmann::json& json) {
  return text::Tokenizer::from_json(json.dump());
}

}  // namespace krasis::test
