#include "text/normalizer.h"

#include <algorithm>
#include <utf8proc.h>
#include <utility>

#include "text/unicode.h"
#include "text/unicode_form.h"
#include "text/utf8.h"

namespace krasis::text {
namespace {

struct CaseRange {
  char32_t first;
  char32_t last;
  std::int32_t offset;  // to the lower case form
};

// Lower case forms that Unicode added after utf8proc 2.8 (15.0), up to 17.0, the reference's
// version.
constexpr CaseRange kNewLowercase[] = {{0x1C89, 0x1C89, 1},      {0xA7CB, 0xA7CB, 0x264 - 0xA7CB},
                                       {0xA7CC, 0xA7CC, 1},      {0xA7CE, 0xA7CE, 1},
                                       {0xA7D2, 0xA7D2, 1},      {0xA7D4, 0xA7D4, 1},
                                       {0xA7DA, 0xA7DA, 1},      {0xA7DC, 0xA7DC, 0x19B - 0xA7DC},
                                       {0x10D50, 0x10D65, 0x20}, {0x16EA0, 0x16EB8, 0x1B}};

void append_lowercase(std::string& out, char32_t c) {
  if (c == 0x130) {  // the only one whose lower case has two code points
    out += "i\xCC\x87";
    return;
  }
  for (const CaseRange& range : kNewLowercase) {
    if (c >= range.first && c <= range.last) {
      utf8::append(out, static_cast<char32_t>(static_cast<std::int32_t>(c) + range.offset));
      return;
    }
  }
  utf8::append(out, static_cast<char32_t>(utf8proc_tolower(static_cast<std::int32_t>(c))));
}

void lowercase(std::string_view text, std::string& out) {
  out.clear();
  for (std::size_t at = 0; at < text.size();) {
    const utf8::CodePoint c = utf8::decode(text.data() + at);
    append_lowercase(out, c.value);
    at += c.length;
  }
}

std::string_view strip(std::string_view text, const StripSpec& spec) {
  while (spec.left && !text.empty()) {
    const utf8::CodePoint c = utf8::decode(text.data());
    if (!unicode::is_white_space(c.value)) break;
    text.remove_prefix(c.length);
  }
  while (spec.right && !text.empty()) {
    std::size_t start = text.size() - 1;
    while (start > 0 && utf8::is_continuation(text[start])) --start;
    if (!unicode::is_white_space(utf8::decode(text.data() + start).value)) break;
    text.remove_suffix(text.size() - start);
  }
  return text;
}

bool replace(const Regex& pattern, const std::string& content, std::string_view text,
             std::string& out, RegexScratch& scratch) {
  RegexMatches matches(pattern, text, scratch);
  std::size_t copied = 0;
  bool any = false;
  if (text.empty()) return false;  // the reference does not search an empty text
  while (const std::optional<Span> match = matches.next()) {
    if (!any) out.clear();
    any = true;
    out.append(text.substr(copied, match->begin - copied));
    out.append(content);
    copied = match->end;
  }
  if (any) out.append(text.substr(copied));
  return any;
}

}  // namespace

Normalizer::Normalizer(const std::vector<NormalizerSpec>& specs) {
  for (const NormalizerSpec& spec : specs) {
    if (const auto* r = std::get_if<ReplaceSpec>(&spec)) {
      steps_.emplace_back(Replace{Regex(r->pattern), r->content});
    } else if (const auto* form = std::get_if<UnicodeForm>(&spec)) {
      steps_.emplace_back(*form);
    } else if (const auto* prepend = std::get_if<PrependSpec>(&spec)) {
      steps_.emplace_back(*prepend);
    } else if (const auto* strip_spec = std::get_if<StripSpec>(&spec)) {
      steps_.emplace_back(*strip_spec);
    } else {
      steps_.emplace_back(LowercaseSpec{});
    }
  }
}

std::string_view Normalizer::apply(std::string_view text, NormalizerScratch& scratch,
                                   RegexScratch& regex) const {
  int target = 0;  // the buffer that does not hold `text`
  for (const Step& step : steps_) {
    std::string& out = scratch.buffers[target];
    bool changed = false;
    if (const auto* form = std::get_if<UnicodeForm>(&step)) {
      changed = to_unicode_form(*form, text, out, scratch.code_points);
    } else if (const auto* r = std::get_if<Replace>(&step)) {
      changed = replace(r->pattern, r->content, text, out, regex);
    } else if (const auto* prepend = std::get_if<PrependSpec>(&step)) {
      changed = !text.empty();
      if (changed) out.assign(prepend->text).append(text);
    } else if (const auto* strip_spec = std::get_if<StripSpec>(&step)) {
      text = strip(text, *strip_spec);
    } else {
      lowercase(text, out);
      changed = true;
    }
    if (!changed) continue;
    text = out;
    target = 1 - target;
  }
  return text;
}

}  // namespace krasis::text
