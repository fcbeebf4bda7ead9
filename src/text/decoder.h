// The decoders of a tokenizer file as a stream: token strings in, text out as soon as it is
// certain. Decoding a whole list of ids is the same stream, so that both always agree.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "formats/tokenizer_json.h"
#include "text/regex.h"
#include "text/utf8.h"

namespace krasis::text {

// The decoder chain of one tokenizer. Steps that see single tokens come first; a ByteLevel or Fuse
// step then makes one string of them; steps after it see that string. Steps behind it that cannot
// be computed from a stream are refused with Error(Unsupported).
class Decoder {
 public:
  explicit Decoder(const TokenizerSpec& spec);

  // True where a token's bytes do not depend on the tokens around it: the chain is ByteLevel alone.
  bool is_byte_level_only() const {
    return token_steps_.empty() && fusion_ == Fusion::ByteLevel && fused_steps_.empty();
  }

  // What `token` gives where it is neither first nor last: possibly a part of a character.
  std::string token_bytes(std::string_view token) const;

 private:
  friend class DecodeStream;
  enum class Fusion { Plain, ByteLevel, Spaces };  // Spaces: no decoder, tokens joined by spaces
  struct Replace {
    Regex pattern;
    std::string content;
  };
  struct Metaspace {
    std::string replacement;
    bool drop_in_first;
  };
  using TokenStep = std::variant<Replace, Metaspace, StripTokenSpec, ByteFallbackSpec>;
  struct ReplaceText {
    std::string text;
    std::string content;
  };
  using FusedStep = std::variant<ReplaceText, StripTokenSpec>;

  void add_token_step(const DecoderSpec& spec);
  void add_fused_step(const DecoderSpec& spec);

  std::vector<TokenStep> token_steps_;
  Fusion fusion_ = Fusion::Plain;
  std::vector<FusedStep> fused_steps_;
};

// One text being decoded. Costs time in proportion to what goes through it.
class DecodeStream {
 public:
  explicit DecodeStream(const Decoder& decoder);

  // Appends to `out` what has become certain.
  void push(std::string_view token, std::string& out);
  // As push for a chain that is ByteLevel alone, with the bytes that the token stands for.
  void push_bytes(std::string_view bytes, std::string& out) { repair_.push(bytes, out); }
  void finish(std::string& out);

 private:
  struct StepState {
    std::int64_t index = 0;  // tokens that came to this step
    std::string bytes;       // ByteFallback: a run of byte tokens
    std::string held;        // fused steps: what may still change
    std::size_t stripped = 0;
    bool stripping = true;
  };

  void run_token(std::size_t step, std::string token, std::string& out);
  void flush_bytes(std::size_t step, std::string& out);
  void fuse(std::string_view token, std::string& out);
  void run_fused(std::size_t step, std::string_view text, std::string& out);
  void finish_fused(std::size_t step, std::string& out);

  const Decoder* decoder_;
  utf8::Repair repair_;
  std::vector<StepState> token_states_;
  std::vector<StepState> fused_states_;
  std::unique_ptr<RegexScratch> regex_;
  bool any_token_ = false;
};

}  // namespace krasis::text
