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

constexpr std::uint8_t kIsAsciiPunctuation = unicode::kPunctuation;

// Neighbours that a behavior joins, seen from left to right (or from right to left).
template <class Iterator, class Join>
std::vector<Cut> fold(Iterator first, Iterator last, const Join& joins, bool backwards) {
  std::vector<Cut> pieces;
  bool previous = false;
  for (; first != last; ++first) {
    if (joins(first->is_match, previous) && !pieces.empty()) {
      if (backwards)
        pieces.back().span.begin = first->span.begin;
      else
        pieces.back().span.end = first->span.end;
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
  steps_.emplace_back(ByClass{
      unicode::kNumber, spec.individual ? SplitBehavior::Isolated : SplitBehavior::Contiguous});
}

void PreTokenizer::add(const PunctuationSpec& spec) {
  steps_.emplace_back(ByClass{kIsAsciiPunctuation, spec.behavior});
}

void PreTokenizer::add(const WhitespaceSpec&) {
  const PatternSpec pattern{.is_regex = true, .text = std::string(kWhitespacePattern)};
  steps_.emplace_back(ByPattern{Regex(pattern), SplitBehavior::Removed, true});
}

void PreTokenizer::add(const WhitespaceSplitSpec&) {
  steps_.emplace_back(ByClass{unicode::kSpace, SplitBehavior::Removed});
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
    if (split.behavior == SplitBehavior::Isolated)
      emit({begin, end});
    else
      cuts.push_back({{begin, end}, is_match != split.invert});
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
    const bool ascii_symbol =
        (by_class->bits & kIsAsciiPunctuation) != 0 && is_ascii_symbol(c.value);
    return ascii_symbol || (unicode::class_table()[c.value] & by_class->bits) != 0;
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
    if (c == ' ')
      out += metaspace.replacement;
    else
      out.push_back(c);
  }
  return out;
}

}  // namespace krasis::text
