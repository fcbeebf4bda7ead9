#include "text/unicode_form.h"

#include <algorithm>
#include <memory>
#include <utf8proc.h>

#include "base/error.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace krasis::text {
namespace {

// What a code point means to normalization; kPassive ones end whatever stands before them.
constexpr std::uint8_t kPassive =
    0;  // combining class 0, never changed, composes with nothing before
constexpr std::uint8_t kActive = 1;
constexpr std::uint8_t kInert = 2;  // kPassive, and composes with nothing after it either

using Table = std::unique_ptr<std::uint8_t[]>;

utf8proc_option_t options_of(UnicodeForm form) {
  const bool compose = form == UnicodeForm::Nfc || form == UnicodeForm::Nfkc;
  const bool compatible = form == UnicodeForm::Nfkc || form == UnicodeForm::Nfkd;
  return static_cast<utf8proc_option_t>(UTF8PROC_STABLE |
                                        (compose ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE) |
                                        (compatible ? UTF8PROC_COMPAT : 0));
}

// Marks the code points that can be the second part of a canonical composition.
void mark_second_parts(std::uint8_t* table) {
  for (utf8proc_int32_t c = 0; c < static_cast<utf8proc_int32_t>(unicode::kCodePoints); ++c) {
    const utf8proc_property_t* property = utf8proc_get_property(c);
    if (property->decomp_seqindex == UINT16_MAX || property->decomp_type != 0) continue;
    utf8proc_int32_t parts[32];
    const utf8proc_ssize_t count =
        utf8proc_decompose_char(c, parts, 32, UTF8PROC_DECOMPOSE, nullptr);
    for (utf8proc_ssize_t i = 1; i < std::min<utf8proc_ssize_t>(count, 32); ++i)
      table[parts[i]] = kActive;
  }
  for (char32_t c = 0x1161; c <= 0x1175; ++c) table[c] = kActive;  // Hangul vowels
  for (char32_t c = 0x11A8; c <= 0x11C2; ++c) table[c] = kActive;  // and final consonants
}

Table build_table(UnicodeForm form) {
  auto table = std::make_unique<std::uint8_t[]>(unicode::kCodePoints);
  for (utf8proc_int32_t c = 0; c < static_cast<utf8proc_int32_t>(unicode::kCodePoints); ++c) {
    const utf8proc_property_t* property = utf8proc_get_property(c);
    const bool hangul = c >= 0xAC00 && c <= 0xD7A3;
    if (property->combining_class == 0 && property->decomp_seqindex == UINT16_MAX && !hangul)
      continue;
    utf8proc_int32_t parts[64];
    utf8proc_ssize_t count = utf8proc_decompose_char(c, parts, 64, options_of(form), nullptr);
    if (count > 0 && count <= 64) count = utf8proc_normalize_utf32(parts, count, options_of(form));
    const bool same = count == 1 && parts[0] == c;
    if (!same || property->combining_class != 0) table[static_cast<std::size_t>(c)] = kActive;
  }
  mark_second_parts(table.get());
  for (const unicode::Range& range : unicode::not_normalized()) {
    for (char32_t c = range.first; c <= range.last; ++c) table[c] = kInert;
  }
  return table;
}

template <UnicodeForm form>
const std::uint8_t* table_once() {
  static const Table table = build_table(form);
  return table.get();
}

const std::uint8_t* table_of(UnicodeForm form) {
  switch (form) {
    case UnicodeForm::Nfc:
      return table_once<UnicodeForm::Nfc>();
    case UnicodeForm::Nfd:
      return table_once<UnicodeForm::Nfd>();
    case UnicodeForm::Nfkc:
      return table_once<UnicodeForm::Nfkc>();
    case UnicodeForm::Nfkd:
      break;
  }
  return table_once<UnicodeForm::Nfkd>();
}

// The start of the first kActive character at or after `at`, and in `before` the start of the
// character in front of it that it may compose with.
std::size_t find_active(std::string_view text, std::size_t at, const std::uint8_t* table,
                        std::size_t& before) {
  before = at;
  while (at < text.size()) {
    const utf8::CodePoint c = utf8::decode(text.data() + at);
    if (table[c.value] == kActive) return at;
    before = table[c.value] == kPassive ? at : at + c.length;
    at += c.length;
  }
  return at;
}

// Appends the form of the code points, which are one segment.
void append_segment(std::vector<std::int32_t>& code_points, UnicodeForm form, std::string& out) {
  std::vector<std::int32_t> parts(code_points.size() * 4 + 32);
  utf8proc_ssize_t count = 0;
  for (const std::int32_t c : code_points) {
    const auto used = static_cast<std::size_t>(count);
    if (parts.size() - used < 32) parts.resize(parts.size() * 2);  // no character has 32 parts
    count += utf8proc_decompose_char(c, parts.data() + used, 32, options_of(form), nullptr);
  }
  // A stable sort by combining class of every run of marks; utf8proc's own is quadratic.
  const auto mark_class = [](std::int32_t c) { return utf8proc_get_property(c)->combining_class; };
  const auto end = parts.begin() + count;
  for (auto first = parts.begin(); first != end;) {
    const auto last = std::find_if(first, end, [&](std::int32_t c) { return mark_class(c) == 0; });
    std::stable_sort(first, last,
                     [&](std::int32_t a, std::int32_t b) { return mark_class(a) < mark_class(b); });
    first = last == end ? end : last + 1;
  }
  count = utf8proc_normalize_utf32(parts.data(), count, options_of(form));
  ensure(count >= 0, "utf8proc refuses valid code points");
  for (utf8proc_ssize_t i = 0; i < count; ++i)
    utf8::append(out, static_cast<char32_t>(parts[static_cast<std::size_t>(i)]));
}

}  // namespace

bool to_unicode_form(UnicodeForm form, std::string_view text, std::string& out,
                     std::vector<std::int32_t>& code_points) {
  const std::uint8_t* table = table_of(form);
  std::size_t segment = 0;
  std::size_t active = find_active(text, 0, table, segment);
  if (active == text.size()) return false;
  out.clear();
  std::size_t copied = 0;
  while (active < text.size()) {
    out.append(text.substr(copied, segment - copied));
    code_points.clear();
    std::size_t at = segment;
    while (at < text.size()) {
      const utf8::CodePoint c = utf8::decode(text.data() + at);
      if (at > active && table[c.value] != kActive) break;
      code_points.push_back(static_cast<std::int32_t>(c.value));
      at += c.length;
    }
    append_segment(code_points, form, out);
    copied = at;
    active = find_active(text, at, table, segment);
  }
  out.append(text.substr(copied));
  return true;
}

}  // namespace krasis::text
