#include "text/pre_tokenizer.h"

#include <algorithm>

#include "text/byte_level.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace krasis::text {
namespace {

// The pattern of ByteLevel with use_regex: GPT-2's.
constexpr std::string_view kByteLevelPattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// \w+|[^\w\s]+ with the \w of the reference's other regular expression library, which has the two
// joiners and not Oniguruma's superscripts and fractions.
constexpr std::string_view kWhitespacePattern =
    R"([\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200C}\x{200D}]+|[^\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200C}\x{200D}\s]+)";

// Where the reference's Punctuation (Unicode 8.0) and Digits (Unicode 17.0) differ from the classes
// of unicode.h (16.0): code points that are the other way round.
constexpr unicode::Range kPunctuationExceptions[] = {
    // clang-format off
    {0x61D, 0x61D}, {0x9FD, 0x9FD}, {0xA76, 0xA76}, {0xC77, 0xC77}, {0xC84, 0xC84},
    {0x166D, 0x166D}, {0x1B4E, 0x1B4F}, {0x1B7D, 0x1B7F}, {0x2E43, 0x2E4F}, {0x2E52, 0x2E5D},
    {0x10D6E, 0x10D6E}, {0x10EAD, 0x10EAD}, {0x10F55, 0x10F59}, {0x10F86, 0x10F89},
    {0x111C9, 0x111C9}, {0x113D4, 0x113D5}, {0x113D7, 0x113D8}, {0x1144B, 0x1144F},
    {0x1145A, 0x1145B}, {0x1145D, 0x1145D}, {0x11660, 0x1166C}, {0x116B9, 0x116B9},
    {0x1183B, 0x1183B}, {0x11944, 0x11946}, {0x119E2, 0x119E2}, {0x11A3F, 0x11A46},
    {0x11A9A, 0x11A9C}, {0x11A9E, 0x11AA2}, {0x11B00, 0x11B09}, {0x11BE1, 0x11BE1},
    {0x11C41, 0x11C45}, {0x11C70, 0x11C71}, {0x11EF7, 0x11EF8}, {0x11F43, 0x11F4F},
    {0x11FFF, 0x11FFF}, {0x12FF1, 0x12FF2}, {0x16D6D, 0x16D6F}, {0x16E97, 0x16E9A},
    {0x16FE2, 0x16FE2}, {0x1E5FF, 0x1E5FF}, {0x1E95E, 0x1E95F},
    // clang-format on
};
constexpr unicode::Range kDigitExceptions[] = {{0x11DE0, 0x11DE9}, {0x16FF4, 0x16FF6}};

bool contains(std::span<const unicode::Range> ranges, char32_t c) {
  return std::any_of(ranges.begin(), ranges.end(),
                     [c](const unicode::Range& r) { return c >= r.first && c <= r.last; });
}

// Neighbours that a behavior joins, seen from left to right (or from right to left).
template <class Iterator, class Join>
std::vector<Cut> fold(Iterator first, Iterator last, const Join& joins, bool backwards) {
  std::vector<Cut> pieces;
  bool previous = false;
  for (; first != last; ++first) {
    if (joins(first->is_match, previous) && !pieces.empty()) {
      if (backwards) {
        pieces.back().span.begin = first->span.begin;
      } else {
        pieces.back().span.end = first->span.end;
      }
    } else {
      pieces.push_back(*first);
    }
    previous = first->is_match;
  }
  return pieces;
}

bool is_ascii_symbol(char32_t c) {
  return c < 0x80 && c > 0x20 && c != 0x7F && !(c >= '0' && c <= '9') && !(c >= 'A' && c <= 'Z') &&
         !(c >= 'a' && c <= 'z');
}

}  // namespace

void apply_behavior(SplitBehavior behavior, std::vector<Cut>& cuts) {
  const auto match_after_other = [](bool match, bool previous) { return match && !previous; };
  switch (behavior) {
    case SplitBehavior::Isolated:
      return;
    case SplitBehavior::Removed:
      std::erase_if(cuts, [](const Cut& cut) { return cut.is_match; });
      return;
    case SplitBehavior::Contiguous:
      cuts = fold(
          cuts.begin(), cuts.end(), [](bool match, bool previous) { return match == previous; },
          false);
      return;
    case SplitBehavior::MergedWithPrevious:
      cuts = fold(cuts.begin(), cuts.end(), match_after_other, false);
      return;
    case SplitBehavior::MergedWithNext:
      cuts = fold(cuts.rbegin(), cuts.rend(), match_after_other, true);
      std::reverse(cuts.begin(), cuts.end());
      return;
  }
}

struct PreTokenizer::Output {
  const BpeModel& model;
  PreTokenizerScratch& scratch;
  std::vector<std::int32_t>& ids;
};

PreTokenizer::PreTokenizer(const std::vector<PreTokenizerSpec>& specs) {
  for (const PreTokenizerSpec& spec : specs) std::visit([this](const auto& s) { add(s); }, spec);
  if (!steps_.empty() && std::holds_alternative<ToByteLevel>(steps_.back())) {
    steps_.pop_back();
    byte_level_model_ = true;
  }
}

void PreTokenizer::add(const SplitSpec& spec) {
  if (spec.pattern.is_regex && spec.behavior == SplitBehavior::Isolated) {
    if (const auto scanner = WordScanner::for_pattern(spec.pattern.text)) {
      steps_.emplace_back(ByWords{*scanner});
      return;
    }
  }
  steps_.emplace_back(ByPattern{Regex(spec.pattern), spec.behavior, spec.invert});
}

void PreTokenizer::add(const ByteLevelSpec& spec) {
  if (spec.add_prefix_space) steps_.emplace_back(PrefixSpace{});
  if (spec.use_regex) {
    const PatternSpec pattern{.is_regex = true, .text = std::string(kByteLevelPattern)};
    steps_.emplace_back(ByPattern{Regex(pattern), SplitBehavior::Isolated, false});
  }
  steps_.emplace_back(ToByteLevel{});
}

void PreTokenizer::add(const DigitsSpec& spec) {
  const auto behavior = spec.individual ? SplitBehavior::Isolated : SplitBehavior::Contiguous;
  steps_.emplace_back(ByClass{unicode::kNumber, behavior, kDigitExceptions});
}

void PreTokenizer::add(const PunctuationSpec& spec) {
  steps_.emplace_back(ByClass{unicode::kPunctuation, spec.behavior, kPunctuationExceptions});
}

void PreTokenizer::add(const WhitespaceSpec&) {
  const PatternSpec pattern{.is_regex = true, .text = std::string(kWhitespacePattern)};
  steps_.emplace_back(ByPattern{Regex(pattern), SplitBehavior::Removed, true});
}

void PreTokenizer::add(const WhitespaceSplitSpec&) {
  steps_.emplace_back(ByClass{unicode::kSpace, SplitBehavior::Removed, {}});
}

void PreTokenizer::add(const MetaspaceSpec& spec) {
  steps_.emplace_back(ToMetaspace{spec.replacement, spec.prepend});
  if (spec.split) steps_.emplace_back(ByCharacter{spec.replacement, SplitBehavior::MergedWithNext});
}

void PreTokenizer::encode(std::string_view text, bool is_start, const BpeModel& model,
                          PreTokenizerScratch& scratch, std::vector<std::int32_t>& ids) const {
  scratch.cuts.resize(steps_.size());
  scratch.texts.resize(steps_.size());
  Output output{model, scratch, ids};
  run(0, text, is_start, output);
}

void PreTokenizer::run(std::size_t step, std::string_view piece, bool is_start,
                       Output& output) const {
  if (piece.empty()) return;
  if (step == steps_.size())
    return output.model.encode(piece, byte_level_model_, output.scratch.model, output.ids);
  const Step& s = steps_[step];
  if (std::holds_alternative<ByWords>(s)) return cut_words(step, piece, is_start, output);
  if (std::holds_alternative<ByPattern>(s)) return cut_pattern(step, piece, is_start, output);
  if (std::holds_alternative<ByClass>(s) || std::holds_alternative<ByCharacter>(s))
    return cut_characters(step, piece, is_start, output);
  run(step + 1, rewrite(step, piece, is_start, output), is_start, output);
}

void PreTokenizer::cut_words(std::size_t step, std::string_view piece, bool is_start,
                             Output& output) const {
  const WordScanner& scanner = std::get<ByWords>(steps_[step]).scanner;
  for (std::size_t begin = 0; begin < piece.size();) {
    const std::size_t end = scanner.word_end(piece, begin);
    run(step + 1, piece.substr(begin, end - begin), is_start && begin == 0, output);
    begin = end;
  }
}

void PreTokenizer::cut_pattern(std::size_t step, std::string_view piece, bool is_start,
                               Output& output) const {
  const ByPattern& split = std::get<ByPattern>(steps_[step]);
  RegexMatches matches(split.pattern, piece, output.scratch.regex);
  const auto emit = [&](const Span& span) {
    run(step + 1, piece.substr(span.begin, span.end - span.begin), is_start && span.begin == 0,
        output);
  };
  std::vector<Cut>& cuts = output.scratch.cuts[step];
  cuts.clear();
  std::size_t done = 0;
  const auto take = [&](std::size_t begin, std::size_t end, bool is_match) {
    if (split.behavior == SplitBehavior::Isolated) {
      emit({begin, end});
    } else {
      cuts.push_back({{begin, end}, is_match != split.invert});
    }
  };
  while (const std::optional<Span> match = matches.next()) {
    if (done != match->begin) take(done, match->begin, false);
    take(match->begin, match->end, true);
    done = match->end;
  }
  if (done != piece.size()) take(done, piece.size(), false);
  apply_behavior(split.behavior, cuts);
  for (const Cut& cut : cuts) emit(cut.span);
}

void PreTokenizer::cut_characters(std::size_t step, std::string_view piece, bool is_start,
                                  Output& output) const {
  const auto* by_class = std::get_if<ByClass>(&steps_[step]);
  const auto* by_character = std::get_if<ByCharacter>(&steps_[step]);
  const auto is_match = [&](std::size_t at, const utf8::CodePoint& c) {
    if (by_character != nullptr) return piece.substr(at, c.length) == by_character->character;
    const bool in_class = (unicode::class_table()[c.value] & by_class->bits) != 0;
    if (c.value >= 0x80) return in_class != contains(by_class->exceptions, c.value);
    return in_class || (by_class->bits == unicode::kPunctuation && is_ascii_symbol(c.value));
  };
  std::vector<Cut>& cuts = output.scratch.cuts[step];
  cuts.clear();
  std::size_t done = 0;
  for (std::size_t at = 0; at < piece.size();) {
    const utf8::CodePoint c = utf8::decode(piece.data() + at);
    if (is_match(at, c)) {
      if (done < at) cuts.push_back({{done, at}, false});
      done = at + c.length;
      cuts.push_back({{at, done}, true});
    }
    at += c.length;
  }
  if (done < piece.size()) cuts.push_back({{done, piece.size()}, false});
  apply_behavior(by_class != nullptr ? by_class->behavior : by_character->behavior, cuts);
  for (const Cut& cut : cuts) {
    run(step + 1, piece.substr(cut.span.begin, cut.span.end - cut.span.begin),
        is_start && cut.span.begin == 0, output);
  }
}

std::string_view PreTokenizer::rewrite(std::size_t step, std::string_view piece, bool is_start,
                                       Output& output) const {
  std::string& out = output.scratch.texts[step];
  if (std::holds_alternative<PrefixSpace>(steps_[step])) {
    if (piece.starts_with(' ')) return piece;
    return out.assign(" ").append(piece);
  }
  if (std::holds_alternative<ToByteLevel>(steps_[step])) {
    out.clear();
    append_byte_level(piece, out);
    return out;
  }
  const ToMetaspace& metaspace = std::get<ToMetaspace>(steps_[step]);
  out.clear();
  const bool starts = piece.starts_with(' ') || piece.starts_with(metaspace.replacement);
  const bool wanted = metaspace.prepend == PrependScheme::Always ||
                      (metaspace.prepend == PrependScheme::First && is_start);
  if (wanted && !starts) out = metaspace.replacement;
  for (const char c : piece) {
    if (c == ' ') {
      out += metaspace.replacement;
    } else {
      out.push_back(c);
    }
  }
  return out;
}

}  // namespace krasis::text
