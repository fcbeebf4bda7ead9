// A model whose next token follows from the newest one by a table, and a byte tokenizer: what the
// server says can be foretold byte by byte.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "engine/engine.h"
#include "support/rows_runner.h"
#include "text/byte_level.h"
#include "text/tokenizer.h"

namespace krasis::test {

constexpr std::int32_t kEndToken = 256;
constexpr std::int32_t kChainVocab = 258;

inline text::Tokenizer byte_tokenizer() {
  nlohmann::ordered_json vocab = nlohmann::ordered_json::object();
  for (int byte = 0; byte < 256; ++byte) {
    std::string spelled;
    text::append_byte_level(std::string(1, static_cast<char>(byte)), spelled);
    vocab[spelled] = byte;
  }
  nlohmann::ordered_json added = nlohmann::ordered_json::array();
  const auto add = [&](const char* content, int id) {
    added.push_back({{"id", id},
                     {"content", content},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
  };
  add("<|end|>", 256);
  add("<|start|>", 257);
  const nlohmann::ordered_json json = {
      {"version", "1.0"},
      {"added_tokens", added},
      {"normalizer", nullptr},
      {"pre_tokenizer",
       {{"type", "ByteLevel"},
        {"add_prefix_space", false},
        {"trim_offsets", true},
        {"use_regex", false}}},
      {"post_processor", nullptr},
      {"decoder", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}}},
      {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", nlohmann::ordered_json::array()}}}};
  return text::Tokenizer::from_json(json.dump());
}

class ChainRunner final : public RowsRunner {
 public:
  // Every character of `text` is followed by the next one; each may occur once. After the last one
  // comes the end token, or the first again with `loop`.
  explicit ChainRunner(const std::string& text, bool loop = false) {
    next_.fill(kEndToken);
    for (std::size_t i = 0; i + 1 < text.size(); ++i)
      next_[static_cast<unsigned char>(text[i])] = static_cast<unsigned char>(text[i + 1]);
    if (loop) next_[static_cast<unsigned char>(text.back())] = static_cast<unsigned char>(text[0]);
  }

  std::int64_t vocab() const override { return kChainVocab; }
  void forward(const Batch& batch, MutableRows logits) override {
    if (before_step) before_step();
    for (std::int64_t row = 0; row < logits.rows; ++row) {
      const auto token = static_cast<std::size_t>(batch.logit_rows[static_cast<std::size_t>(row)]);
      std::fill_n(logits.row(row), kChainVocab, 0.0F);
      logits.row(row)[next_[static_cast<std::size_t>(batch.ids[token])]] = 100;
    }
  }

  std::function<void()> before_step;

 private:
  std::array<std::int32_t, kChainVocab> next_{};
};

}  // namespace krasis::test
