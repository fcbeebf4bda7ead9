#include "text/decoder.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "text/byte_level.h"

namespace krasis::text {
namespace {

// The byte of "<0xNN>".
std::optional<char> byte_token(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  int value = 0;
  for (const char c : token.substr(3, 2)) {
    if (c >= '0' && c <= '9') {
      value = value * 16 + (c - '0');
    } else if (c >= 'a' && c <= 'f') {
      value = value * 16 + (c - 'a' + 10);
    } else if (c >= 'A' && c <= 'F') {
      value = value * 16 + (c - 'A' + 10);
    } else {
      return std::nullopt;
    }
  }
  return static_cast<char>(value);
}

std::string strip_token(std::string_view token, const StripTokenSpec& spec) {
  for (std::size_t i = 0; i < spec.start && token.starts_with(spec.content); ++i)
    token.remove_prefix(spec.content.size());
  for (std::size_t i = 0; i < spec.stop && token.ends_with(spec.content); ++i)
    token.remove_suffix(spec.content.size());
  return std::string(token);
}

std::string replace_all(std::string_view text, std::string_view what, std::string_view with) {
  std::string out;
  std::size_t done = 0;
  for (std::size_t at = text.find(what); at != std::string_view::npos; at = text.find(what, done)) {
    out.append(text.substr(done, at - done)).append(with);
    done = at + what.size();
  }
  return out.append(text.substr(done));
}

[[noreturn]] void refuse(const char* step) {
  throw Error(ErrorCode::Unsupported, std::string("tokenizer: decoder: ") + step +
                                          " after Fuse or ByteLevel is not supported");
}

}  // namespace

Decoder::Decoder(const TokenizerSpec& spec) {
  if (!spec.has_decoder) fusion_ = Fusion::Spaces;
  bool fused = false;
  for (const DecoderSpec& step : spec.decoders) {
    if (fused) {
      add_fused_step(step);
    } else if (std::holds_alternative<FuseSpec>(step)) {
      fused = true;
    } else if (std::holds_alternative<ByteLevelSpec>(step)) {
      fused = true;
      fusion_ = Fusion::ByteLevel;
    } else {
      add_token_step(step);
    }
  }
}

void Decoder::add_token_step(const DecoderSpec& spec) {
  if (const auto* r = std::get_if<ReplaceSpec>(&spec)) {
    token_steps_.emplace_back(Replace{Regex(r->pattern), r->content});
  } else if (const auto* m = std::get_if<MetaspaceSpec>(&spec)) {
    token_steps_.emplace_back(Metaspace{m->replacement, m->prepend != PrependScheme::Never});
  } else if (const auto* s = std::get_if<StripTokenSpec>(&spec)) {
    token_steps_.emplace_back(*s);
  } else {
    token_steps_.emplace_back(ByteFallbackSpec{});
  }
}

void Decoder::add_fused_step(const DecoderSpec& spec) {
  if (std::holds_alternative<FuseSpec>(spec)) return;
  if (std::holds_alternative<ByteLevelSpec>(spec)) refuse("ByteLevel");
  if (std::holds_alternative<ByteFallbackSpec>(spec)) refuse("ByteFallback");
  if (const auto* r = std::get_if<ReplaceSpec>(&spec)) {
    if (r->pattern.is_regex) refuse("Replace with a regular expression");
    fused_steps_.emplace_back(ReplaceText{r->pattern.text, r->content});
  } else if (const auto* m = std::get_if<MetaspaceSpec>(&spec)) {
    const bool drop = m->prepend != PrependScheme::Never;  // the one string is the first token
    fused_steps_.emplace_back(ReplaceText{m->replacement, drop ? "" : " "});
  } else if (const auto* s = std::get_if<StripTokenSpec>(&spec)) {
    fused_steps_.emplace_back(*s);
  }
}

std::string Decoder::token_bytes(std::string_view token) const {
  for (const TokenStep& step : token_steps_) {
    if (!std::holds_alternative<ByteFallbackSpec>(step)) continue;
    if (const std::optional<char> byte = byte_token(token)) return std::string(1, *byte);
  }
  if (fusion_ == Fusion::ByteLevel && token_steps_.empty()) {
    if (const std::optional<std::string> bytes = from_byte_level(token)) return *bytes;
    return std::string(token);
  }
  DecodeStream stream(*this);
  std::string out;
  const std::string_view before = "x";
  stream.push(before, out);  // steps that treat the first token differently see this one
  out.clear();
  stream.push(token, out);
  stream.finish(out);
  return out;
}

DecodeStream::DecodeStream(const Decoder& decoder)
    : decoder_(&decoder),
      token_states_(decoder.token_steps_.size()),
      fused_states_(decoder.fused_steps_.size()) {}

void DecodeStream::push(std::string_view token, std::string& out) {
  if (decoder_->token_steps_.empty()) {
    fuse(token, out);
  } else {
    run_token(0, std::string(token), out);
  }
}

void DecodeStream::run_token(std::size_t step, std::string token, std::string& out) {
  for (; step < token_states_.size(); ++step) {
    const Decoder::TokenStep& s = decoder_->token_steps_[step];
    StepState& state = token_states_[step];
    if (const auto* replace = std::get_if<Decoder::Replace>(&s)) {
      if (!regex_) regex_ = std::make_unique<RegexScratch>();
      RegexMatches matches(replace->pattern, token, *regex_);
      std::string replaced;
      std::size_t done = 0;
      if (token.empty()) continue;  // the reference does not search an empty token
      while (const std::optional<Span> match = matches.next()) {
        replaced.append(token, done, match->begin - done).append(replace->content);
        done = match->end;
      }
      token = replaced.append(token, done);
    } else if (const auto* metaspace = std::get_if<Decoder::Metaspace>(&s)) {
      const bool drop = state.index == 0 && metaspace->drop_in_first;
      token = replace_all(token, metaspace->replacement, drop ? "" : " ");
    } else if (const auto* strip = std::get_if<StripTokenSpec>(&s)) {
      token = strip_token(token, *strip);
    } else if (const std::optional<char> byte = byte_token(token)) {
      state.bytes.push_back(*byte);
      return;
    } else {
      flush_bytes(step, out);
    }
    ++state.index;
  }
  fuse(token, out);
}

// A run of byte tokens is one token if it is valid UTF-8, else a replacement character for each
// byte.
void DecodeStream::flush_bytes(std::size_t step, std::string& out) {
  const std::string bytes = std::exchange(token_states_[step].bytes, {});
  if (bytes.empty()) return;
  std::string repaired;
  if (utf8::make_valid(bytes, repaired).data() == bytes.data())
    return run_token(step + 1, bytes, out);
  for (std::size_t i = 0; i < bytes.size(); ++i)
    run_token(step + 1, std::string(utf8::kReplacement), out);
}

void DecodeStream::fuse(std::string_view token, std::string& out) {
  if (decoder_->fusion_ == Decoder::Fusion::ByteLevel) {
    const std::optional<std::string> bytes = from_byte_level(token);
    std::string text;
    repair_.push(bytes ? *bytes : token, text);
    run_fused(0, text, out);
  } else {
    if (decoder_->fusion_ == Decoder::Fusion::Spaces && any_token_) run_fused(0, " ", out);
    any_token_ = true;
    run_fused(0, token, out);
  }
}

void DecodeStream::run_fused(std::size_t step, std::string_view text, std::string& out) {
  if (step == fused_states_.size()) {
    out.append(text);
    return;
  }
  StepState& state = fused_states_[step];
  std::string ready;
  if (const auto* replace = std::get_if<Decoder::ReplaceText>(&decoder_->fused_steps_[step])) {
    std::string seen = std::exchange(state.held, {}).append(text);
    std::size_t done = 0;
    for (std::size_t at = seen.find(replace->text); at != std::string::npos;
         at = seen.find(replace->text, done)) {
      ready.append(seen, done, at - done).append(replace->content);
      done = at + replace->text.size();
    }
    std::size_t keep = std::min(replace->text.size() - 1, seen.size() - done);
    while (keep > 0 &&
           !replace->text.starts_with(std::string_view(seen).substr(seen.size() - keep)))
      --keep;
    ready.append(seen, done, seen.size() - keep - done);
    state.held = seen.substr(seen.size() - keep);
  } else {
    const auto& strip = std::get<StripTokenSpec>(decoder_->fused_steps_[step]);
    while (state.stripping && !text.empty()) {
      state.stripping = state.stripped < strip.start && text.starts_with(strip.content);
      if (!state.stripping) break;
      text.remove_prefix(strip.content.size());
      ++state.stripped;
    }
    ready = std::exchange(state.held, {}).append(text);
    std::string_view rest = ready;
    for (std::size_t i = 0; i < strip.stop && rest.ends_with(strip.content); ++i)
      rest.remove_suffix(strip.content.size());
    state.held = ready.substr(rest.size());
    ready.resize(rest.size());
  }
  if (!ready.empty()) run_fused(step + 1, ready, out);
}

void DecodeStream::finish_fused(std::size_t step, std::string& out) {
  if (step == fused_states_.size()) return;
  const std::string held = std::exchange(fused_states_[step].held, {});
  const bool is_strip = std::holds_alternative<StripTokenSpec>(decoder_->fused_steps_[step]);
  if (!is_strip && !held.empty()) run_fused(step + 1, held, out);
  finish_fused(step + 1, out);
}

void DecodeStream::finish(std::string& out) {
  for (std::size_t step = 0; step < token_states_.size(); ++step) flush_bytes(step, out);
  std::string rest;
  repair_.finish(rest);
  if (!rest.empty()) run_fused(0, rest, out);
  finish_fused(0, out);
}

}  // namespace krasis::text
